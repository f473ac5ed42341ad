"""The order of the prompts: a pure function of (seed, epoch)."""

from __future__ import annotations

from trl.trainer.utils import RepeatSampler


class EpochSampler(RepeatSampler):
    """TRL's sampler, seeded anew for each epoch.

    TRL's own draws each epoch's order from one stream, so a run resumed in its second epoch would see the
    first epoch's order again. Accelerate and transformers call `set_epoch` before each pass.
    """

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) * 1_000_003 + epoch)
