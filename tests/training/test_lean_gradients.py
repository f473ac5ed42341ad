"""The lean update's gradient is that of TRL's own path, on a rollout of a real model; all: scripts/gradients.py."""

from typing import Any

import pytest
import torch

from lenrl.training.chunks import Chunks
from lenrl.training.lean import DIVISORS
from lenrl.training.trl_batch import has_signal
from tests.training.runs import force, small_run
from tests.training.two_processes import say

MICRO_BATCHES = 4


@pytest.fixture(scope="module")
def rolled(tmp_path_factory) -> Any:
    """A trainer with a rollout for two updates of four micro-batches, whose policy has moved since."""
    trainer, verifier = small_run(
        "grpo",
        tmp_path_factory.mktemp("lean"),
        "trainer.max_completion_length=100",
        "trainer.per_device_train_batch_size=6",
        "trainer.num_generations=8",
        f"trainer.gradient_accumulation_steps={MICRO_BATCHES}",
        f"trainer.steps_per_generation={2 * MICRO_BATCHES}",
    )
    force(trainer, say)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = MICRO_BATCHES
    with verifier:
        trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.02 * parameter.std() * torch.randn(parameter.shape, generator=generator))
    return trainer


def gradient(trainer: Any, *, lean: bool, **fields: Any) -> torch.Tensor:
    """Of one optimizer step, flat; `fields` of the trainer hold for this one."""
    before = {name: getattr(trainer, name) for name in fields}
    vars(trainer).update(fields)
    trainer.chunks = Chunks(trainer.group, None) if lean else None
    trainer.update.every_row = not lean
    trainer.update.divisor = DIVISORS[trainer.loss_type]
    trainer.update.begin_step()
    trainer.model.zero_grad()
    trainer._step = 0
    for batch in trainer._buffered_inputs[:MICRO_BATCHES]:
        trainer._compute_loss(trainer.model, batch).backward()
        trainer._step += 1
    trainer._step = 0
    vars(trainer).update(before)
    return torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])


@pytest.mark.parametrize("loss_type", DIVISORS)
def test_a_loss_of_trl_has_the_same_gradient(rolled, loss_type):
    theirs = gradient(rolled, lean=False, loss_type=loss_type)
    useful, computed = rolled.update.step_tokens()
    ours = gradient(rolled, lean=True, loss_type=loss_type)
    assert theirs.norm() > 0
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    again, fewer = rolled.update.step_tokens()
    assert again == useful > 0.75 * fewer
    assert useful < 0.6 * computed


def test_ratios_of_whole_sequences_have_the_same_gradient(rolled):
    sequences = {"loss_type": "luspo", "importance_sampling_level": "sequence"}
    theirs, ours = (gradient(rolled, lean=lean, **sequences) for lean in (False, True))
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_the_test_would_see_a_row_of_a_wrong_weight(rolled, monkeypatch):
    theirs = gradient(rolled, lean=False, loss_type="grpo")
    monkeypatch.setitem(DIVISORS, "grpo", "step")
    ours = gradient(rolled, lean=True, loss_type="grpo")
    assert (ours - theirs).norm() > 1e-3 * theirs.norm()


def test_the_rollout_shows_something(rolled):
    """Rows without an advantage, of different lengths, and ratios that are clipped."""
    step = rolled._buffered_inputs[:MICRO_BATCHES]
    assert 0 < sum(int(has_signal(batch).sum()) for batch in step) < sum(len(b["advantages"]) for b in step)
    rolled._metrics["train"].clear()
    gradient(rolled, lean=True, loss_type="grpo")
    assert max(rolled._metrics["train"]["clip_ratio/region_mean"]) > 0.01
