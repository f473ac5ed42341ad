"""Rows of the generation batch over the processes: process order is batch order."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor


class ProcessGroup:
    """The process group as the engine uses it."""

    def __init__(self, accelerator: Any) -> None:
        self.accelerator = accelerator

    @property
    def processes(self) -> int:
        return self.accelerator.num_processes

    def gather(self, rows: list) -> list:
        """Every process's rows in process order."""
        return gather_object(rows) if self.processes > 1 else list(rows)

    def gather_flat(self, value: Tensor) -> Tensor:
        """1-D tensors of any length, concatenated over the processes."""
        if self.processes == 1:
            return value
        parts = gather_object([value.cpu()])
        return torch.cat(parts).to(value.device)

    def total(self, values: Tensor) -> list[float]:
        """Sums over the processes."""
        return self.accelerator.reduce(values, reduction="sum").tolist()

    def highest(self, value: int) -> int:
        """The greatest of the processes' integers."""
        if self.processes == 1:
            return value
        found = torch.tensor([value], device=self.accelerator.device)
        torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
        return int(found.item())

    def mine(self, count: int) -> slice:
        """This process's rows, where each process has `count`."""
        start = self.accelerator.process_index * count
        return slice(start, start + count)
