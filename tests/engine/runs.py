"""Small real runs on the embedded model, for the tests of the engine."""

from pathlib import Path
from typing import Any

from lenrl.config import compose
from lenrl.engine.options import prepare
from lenrl.train import build

SMALL = [
    "task.train=64",
    "task.dev=8",
    "trainer.per_device_train_batch_size=16",
    "trainer.num_generations=4",
    "trainer.max_steps=2",
    "trainer.save_steps=0",
    "trainer.eval_steps=0",
    "trainer.max_completion_length=48",
    "guard.truncated_share=1.0",
    "verifier.workers=1",
]


def small_run(recipe: str, run_dir: Path, *overrides: str) -> tuple[Any, Any]:
    """(trainer, verifier) of a run of seconds; the caller closes the verifier."""
    return build(prepare(compose(recipe, [*SMALL, *overrides])), run_dir)
