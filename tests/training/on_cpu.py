"""Lets launches that want GPUs start on the CPU: a plugin of `lenrl train`, and imported by workers of the tests.

accelerate promotes only GPUs to FSDP, on the CPU it would train with DDP and not say so; DeepSpeed's first start
would compile for minutes an operator that only its inference uses. Both are private names of the pinned versions,
so whoever uses this must look at what the model was wrapped in.

With STOP_AT=R:N:S in the environment rank R sends itself signal S as its N-th generation begins, and writes down
when, seconds since 1970, in the file STOP_NOTE.
"""

import os
import time
from pathlib import Path
from typing import ClassVar

from lenrl.strategies.rewards.correctness import Correctness


class Unused(Correctness):
    """A plugin must have a strategy."""

    name: ClassVar[str] = "unused_on_cpu"


def promote_to_fsdp() -> None:
    """`distributed_type: FSDP` also holds for processes on the CPU."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    begin = PartialState.__init__

    def relabelled(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = relabelled


def signal_in_generation(rank: str, number: int, what: int, note: Path) -> None:
    """A process ends itself, or is told to stop, while the others sample."""
    from transformers import GenerationMixin

    from lenrl.training.rollout import RolloutScoring

    calls = []

    def signalled(original):
        def sample(*args, **kwargs):
            calls.append(1)
            if os.environ["RANK"] == rank and len(calls) == number:
                note.write_text(str(time.time()))
                os.kill(os.getpid(), what)
            return original(*args, **kwargs)

        return sample

    RolloutScoring.sample = signalled(RolloutScoring.sample)  # a run uses one of the two
    GenerationMixin.generate = signalled(GenerationMixin.generate)


if "RANK" in os.environ:  # a training process, not `lenrl train`
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        promote_to_fsdp()
    if "STOP_AT" in os.environ:
        which, when, what = os.environ["STOP_AT"].split(":")
        signal_in_generation(which, int(when), int(what), Path(os.environ["STOP_NOTE"]))
