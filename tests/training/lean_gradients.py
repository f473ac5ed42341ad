"""A worker of any launch: gradients of the lean update next to those of TRL's own path, on the same completions.

Usage: lean_gradients.py OUT_DIR CELL [CELL ...], cells being names of CELLS. Every cell writes OUT_DIR/CELL.json: the
difference of the two gradients relative to TRL's, the greatest over the steps that are compared.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from tests.training import on_cpu  # noqa: F401 - before the process group begins
from tests.training.runs import force, lines_of, small_run
from tests.training.sharded import Capture
from tests.training.two_processes import say

ROWS = 48  # of an optimizer step, over all processes, in two micro-batches a process
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")
TWO_UPDATES = "trainer.steps_per_generation=4"
LORA = "model.peft={r: 4, lora_alpha: 16, target_modules: all-linear}"
CELLS: dict[str, list[str]] = {
    **{name: ["grpo", f"trainer.loss_type={name}"] for name in LOSSES},
    **{f"{name}, 2 updates": ["grpo", f"trainer.loss_type={name}", TWO_UPDATES] for name in LOSSES},
    "grpo, sequences": ["grpo", "trainer.importance_sampling_level=sequence", TWO_UPDATES],
    "grpo, off-policy mask": ["grpo", "trainer.off_policy_mask_threshold=0.01", TWO_UPDATES],
    "grpo, 2 iterations": ["grpo", "trainer.num_iterations=2"],
    "grpo, checkpointing": ["grpo", "trainer.gradient_checkpointing=true"],
    "grpo, beta": ["grpo", "trainer.beta=0.1"],
    "grpo, entropy bonus": ["grpo", "trainer.entropy_coef=0.01"],
    "grpo, entropy quantile": ["grpo", "trainer.top_entropy_quantile=0.5"],
    "grpo, lora": ["grpo", LORA],
    "grpo, drop_flat": ["grpo", "trainer.loss_type=grpo", "sampling=drop_flat"],
    "drpo": ["drpo", "trainer.steps_per_generation=2"],
    "drpo, 2 updates": ["drpo", TWO_UPDATES, "objective.delta=10"],
    "drpo, 2 updates, hinge": ["drpo", TWO_UPDATES, "objective={name: drpo, beta: 10, delta: 0}"],
    "drpo, 2 updates, lora": ["drpo", TWO_UPDATES, LORA],
    "kl_cov, 2 updates": ["grpo", "objective={name: kl_cov, ratio: 0.1}", TWO_UPDATES],
    "kl_cov, 2 updates, whole step": [
        "grpo",
        "objective={name: kl_cov, ratio: 0.1, scope: optimizer_step}",
        TWO_UPDATES,
    ],
}  # fmt: skip
SHARDED = (
    *LOSSES,
    "grpo, 2 updates",
    "grpo, checkpointing",
    "grpo, lora",
    "drpo, 2 updates",
    "drpo, 2 updates, hinge",
    "kl_cov, 2 updates",
)
"""Cells of the launches with several processes."""


def allowed(launch: str, cell: str) -> bool:
    """DeepSpeed's optimizer cannot leave a step out."""
    return not (launch.startswith("zero") and "drop_flat" in cell)


class EveryStep(Capture):
    """Keeps the gradient of each optimizer step."""

    def __init__(self, trainer: Any) -> None:
        super().__init__(trainer, {})
        self.steps: list[torch.Tensor] = []

    def on_step_end(self, args, state, control, **_):
        self.steps.append(torch.cat([self.into[name].double().flatten() for name in sorted(self.into)]))
        self.into.clear()


def gradients(cell: str, out: Path, *, lean: bool) -> tuple[list[torch.Tensor], list[dict]]:
    """Of the optimizer steps of one rollout, and the run's lines in `metrics.jsonl`."""
    recipe, *options = CELLS[cell]
    trainer, verifier = small_run(
        recipe,
        out,
        "task.train=24",
        "task.dev=0",
        "trainer.num_generations=8",
        f"trainer.per_device_train_batch_size={ROWS // 2 // int(os.environ.get('WORLD_SIZE', '1'))}",
        "trainer.gradient_accumulation_steps=2",
        "trainer.max_completion_length=300",
        "trainer.optim=sgd",  # Adam's first steps turn rounding into signs
        "trainer.learning_rate=0.01",
        "trainer.lr_scheduler_type=constant",
        "trainer.warmup_steps=0",
        f"update.lean={str(lean).lower()}",
        *options,
    )
    force(trainer, say)
    if "hinge" in cell:
        make_likelier(trainer)
    capture = EveryStep(trainer)
    trainer.add_callback(capture)
    with verifier:
        trainer.train()
    return capture.steps, lines_of(out) if PartialState().is_main_process else []


def make_likelier(trainer: Any) -> None:
    """The rollout has been sampled by a policy to which it was likelier: the KL is above 0."""
    score = trainer._generate_and_score_completions

    def likelier(inputs):
        batch = score(inputs)
        return batch | {"old_per_token_logps": batch["old_per_token_logps"] + 0.5 * batch["completion_mask"]}

    trainer._generate_and_score_completions = likelier


def compare(cell: str, out: Path) -> dict[str, Any]:
    """The gradients of both updates; figures of the last step."""
    theirs, stock = gradients(cell, out / cell / "trl", lean=False)
    ours, lean = gradients(cell, out / cell / "lean", lean=True)
    apart = [((a - b).norm() / b.norm()).item() for a, b in zip(ours, theirs, strict=True)]
    found = {"difference": max(apart), "steps": len(apart), "norm": min(b.norm().item() for b in theirs)}
    if lean:
        found |= {"useful_trl": stock[-1]["useful_token_share"], "useful": lean[-1]["useful_token_share"]}
    return found


def main(out: Path, cells: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for cell in cells:
        found = compare(cell, out)
        if PartialState().is_main_process:
            (out / f"{cell}.json").write_text(json.dumps(found))
            print(cell, found, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
    os._exit(0)  # DeepSpeed's handlers at exit wait for engines of runs that are over
