"""Memory that the update of a trainer takes, for scripts/bench.py."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

MIB = 2**20
MMAP_THRESHOLD = -3  # of mallopt


def peak_is_honest() -> None:
    """On the CPU: memory that is freed goes back to the system at once, so that a peak is what was needed."""
    if not torch.cuda.is_available():
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 65536)


class PeakMemory(TrainerCallback):
    """MiB that the update takes beside what is held when its rollout stands; the largest so far."""

    def __init__(self, trainer: Any) -> None:
        self.peak_mib = 0.0
        own = trainer._generate_and_score_completions

        def generate_and_score(inputs):
            batch = own(inputs)
            self._begin()
            return batch

        trainer._generate_and_score_completions = generate_and_score

    def on_step_end(self, args, state, control, **_) -> None:
        self.peak_mib = max(self.peak_mib, (self._highest() - self.before) / MIB)

    def _begin(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
            self.before = resident("VmRSS")

    def _highest(self) -> int:
        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resident("VmHWM")


def resident(line: str) -> int:
    """Bytes of this process in memory: `VmRSS` now, `VmHWM` at most since it was reset."""
    found = re.search(rf"{line}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
