"""Run by every process of a launch: what must not depend on how many processes there are.

Usage: two_processes.py OUT_DIR
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from lenrl.strategies import registry
from lenrl.strategies.hints import draw
from tests.training import drpo_gradient, trl_advantages
from tests.training.runs import answer, force, small_run

ROWS = 12  # of a rollout, over all processes: with two of them the second of three groups straddles
RUNS = {
    "palu": ["budget.threshold=0.5", "budget.tau=0.25"],
    "dot": ["trainer.num_generations=12", "truncation.margin=4", "trainer.steps_per_generation=1"],
    "drpo": ["trainer.steps_per_generation=1"],
    "grpo_lambda": [
        "reward.fraction=0.5",
        "task=mix",  # task.train=6: four problems of the one, two of the other
        "task.parts={short: {task: {use: chain, train: 9, max_operands: 3}, weight: 2}, long: {task: {use: chain, "
        "train: 9}}}",
    ],
    "laser_d": ["reward.refresh=1", "reward.low=10", "reward.step=10"],
    "gfpo": [
        "advantage.keep=2",
        "sampling={name: pass_rate_band, revisit: 0}",
    ],  # the second pass has fewer prompts
    "dler": ["reward.cap=60"],
    "crisp": [
        *["advantage.instruction=short", "budget=modes"],
        "objective={name: mode_margin, long_token: 261, short_token: 264, margin: 9}",
    ],
    "grpo": [
        "verifier.kind=lines",
        "truncation=short",
        "reward=reads_all",
        "advantage=weighs_tokens",
        "guard.truncated_share=1",
    ],
}
READER = Path(__file__).with_name("reader.py")  # its plug-ins


def say(problem, k: int) -> str:
    """Completion k of a problem: half of the problems are solved, the others now and then; one of 12 is very long."""
    solved = draw(2, "solved", problem.id) == 0
    long = 40 if k == draw(12, "outlier", problem.id) else 0
    steps = 1 + draw(6, "length", problem.id, k) + long
    return answer(solved or draw(10, "right", problem.id, k) < 7, problem, steps)


def checked_run(recipe: str, run_dir: Path, processes: int) -> dict:
    """Train on prepared completions; the strategies' states at the end. The learning rate moves nothing."""
    registry.load_plugin(READER)
    rows = ROWS * (3 if recipe == "dot" else 1)
    trainer, verifier = small_run(
        recipe,
        run_dir,
        "task.train=6",
        "trainer.max_steps=3",
        "trainer.max_completion_length=300",
        "trainer.learning_rate=1e-30",
        f"trainer.per_device_train_batch_size={rows // processes}",
        *RUNS[recipe],
    )
    force(trainer, say)
    with verifier:
        trainer.train()
    return trainer.strategies.state_dict()


def main(out: Path) -> None:
    from accelerate import PartialState

    found: dict[str, Any] = {
        "grpo": trl_advantages.compare(out / "advantages", "trainer.per_device_train_batch_size=6")
    }
    state = PartialState()  # the first run's: it names the backend
    found["processes"], found["backend"] = state.num_processes, torch.distributed.get_backend()
    found["gradients"] = [
        drpo_gradient.compare(out / f"gradient{n}", rows=18 // n, micro_batches=3, updates=n) for n in (1, 2)
    ]
    found["states"] = {recipe: checked_run(recipe, out / recipe, state.num_processes) for recipe in RUNS}
    (out / f"rank{state.process_index}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
