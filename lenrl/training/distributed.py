"""The processes of a launch, and rows over them: process order is batch order."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from lenrl.errors import LenrlError

T = TypeVar("T")


def outcome(work: Callable[[], T]) -> T | LenrlError:
    """The value of a process's own work, or its error, for `ProcessGroup.settled`."""
    try:
        return work()
    except LenrlError as fault:
        return fault


class ProcessGroup:
    """The processes that train together; every method but `local_slice` is collective."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator: Any = accelerator  # of a tensor it gives a tensor, which its types do not say

    @property
    def processes(self) -> int:
        return self.accelerator.num_processes

    @property
    def device(self) -> torch.device:
        """This process's."""
        return self.accelerator.device

    def local_slice(self, count: int) -> slice:
        """This process's rows, where each process has `count`."""
        start = self.accelerator.process_index * count
        return slice(start, start + count)

    def gather(self, rows: list) -> list:
        """Every process's rows in process order."""
        return gather_object(rows) if self.processes > 1 else list(rows)

    def settled(self, value: T | LenrlError) -> T:
        """This process's value of work that each did by itself.

        Raises:
            LenrlError: on every process, the first one's error where there is one: none waits for another.
        """
        if self.max(int(isinstance(value, LenrlError))):
            faults = self.gather([value if isinstance(value, LenrlError) else None])
            raise next(fault for fault in faults if fault is not None)
        assert not isinstance(value, LenrlError)
        return value

    def gather_tensor(self, value: Tensor) -> Tensor:
        """Tensors of one shape, concatenated over the processes."""
        return self.accelerator.gather(value)

    def gather_padded(self, value: Tensor, pad: int, left: bool) -> Tensor:
        """(N, T) tensors whose T may differ, filled with `pad` on one side, concatenated over the processes."""
        if self.processes == 1:
            return value
        return self.gather_tensor(
            self.accelerator.pad_across_processes(value, dim=1, pad_index=pad, pad_first=left)
        )

    def gather_flat(self, value: Tensor) -> Tensor:
        """1-D tensors of any length, concatenated over the processes."""
        if self.processes == 1:
            return value
        parts = gather_object([value.cpu()])
        return torch.cat(parts).to(value.device)

    def sum(self, values: Tensor) -> list[float]:
        """Sums over the processes."""
        return self.accelerator.reduce(values, reduction="sum").tolist()

    def max(self, value: int) -> int:
        """The greatest of the processes' integers."""
        if self.processes == 1:
            return value
        highest = torch.tensor([value], device=self.device)
        torch.distributed.all_reduce(highest, op=torch.distributed.ReduceOp.MAX)
        return int(highest.item())
