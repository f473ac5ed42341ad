"""A worker of any launch: gradients of the lean update next to those of TRL's own path, on the same completions.

Usage: lean_gradients.py OUT_DIR CELL [CELL ...], cells being names of CELLS. Every cell writes OUT_DIR/CELL.json: the
difference of the two gradients relative to TRL's, the greatest over the steps that are compared. Between two steps the
weights of both move by the same random amounts and not along their gradients, so that each step begins with one policy.
Arithmetic is float64 but for DeepSpeed, and the angles of rotary positions are everywhere: as float32 they depend on a
row's padding on the left, and TRL's own gradient with them, by 1e-5.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import trl.trainer.utils
from accelerate import PartialState
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from lenrl.training.checkpointing import swapped
from tests.training import on_cpu  # noqa: F401 - before the process group begins
from tests.training.runs import force, lines_of, small_run
from tests.training.sharded import Capture
from tests.training.two_processes import say

ROWS = 48  # of an optimizer step, over all processes, in two micro-batches a process
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")
TWO_UPDATES = "trainer.steps_per_generation=4"
MOVE = 0.004  # standard deviation of what a weight moves by: ratios leave the clipping range
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


class Head:
    """TRL's fused head without its float32: log-probs and entropies of labels."""

    @staticmethod
    def apply(hidden, weight, _bias, labels, temperature, *_):
        logp = (hidden @ weight.T / temperature).log_softmax(-1)
        entropy = -(logp.detach().exp() * logp.detach()).sum(-1)
        return logp.gather(-1, labels[:, None])[:, 0], entropy, None, None, None


def exact_angles(self, x, position_ids):
    """cos and sin of rotary positions, computed in float64."""
    angles = position_ids[..., None].double() * self.inv_freq.double()
    both = torch.cat([angles, angles], -1)
    return both.cos().to(x.dtype), both.sin().to(x.dtype)


@contextmanager
def exact(trainer: Any) -> Iterator[None]:
    """float64 for the length of a block, as far as the launch allows."""
    with swapped(Qwen3RotaryEmbedding, forward=torch.no_grad()(exact_angles)):
        if trainer.is_deepspeed_enabled:
            yield
            return
        trainer.model.double()
        with swapped(trl.trainer.utils, _ChunkedLogProbFunction=Head):
            yield


class EveryStep(Capture):
    """Keeps the gradient of each optimizer step, and moves the weights after it by what its number decides."""

    def __init__(self, trainer: Any) -> None:
        super().__init__(trainer, {})
        self.steps: list[torch.Tensor] = []

    def on_step_end(self, args, state, control, **_):
        self.steps.append(torch.cat([self.into[name].double().flatten() for name in sorted(self.into)]))
        self.into.clear()
        generator = torch.Generator().manual_seed(state.global_step)
        for parameter in self.trainer.model.parameters():
            if parameter.requires_grad:
                with opened(parameter) as held:
                    held.add_(MOVE * torch.randn(held.shape, generator=generator).to(held))


@contextmanager
def opened(parameter: Any) -> Iterator[torch.Tensor]:
    """What this process holds of a parameter, or all of it, to be edited."""
    if not hasattr(parameter, "ds_id"):
        data = parameter.detach()
        yield data.to_local() if hasattr(data, "to_local") else data
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
        yield parameter.data


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
        "trainer.optim=sgd",
        "trainer.learning_rate=1e-30",  # no weight moves by it
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
    with verifier, exact(trainer):
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
