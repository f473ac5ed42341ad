"""What belongs to one optimizer step: totals, figures, gradients, and what they cost."""

import pytest
import torch
from transformers import TrainerCallback

from lenrl.errors import RunFailed
from tests.training.runs import lines_of, small_run


def test_the_last_step_of_an_epoch_may_be_smaller(tmp_path):
    """Three rollouts an epoch, two of them a step: every other step has one, and its totals are its own."""
    trainer, verifier = small_run(
        "drpo",
        tmp_path,
        "task.train=12",
        "trainer.steps_per_generation=1",
        "trainer.gradient_accumulation_steps=2",
        "trainer.max_steps=4",
    )
    rows: list[int] = []

    class Watchdog(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            rows.append(trainer.update.totals.rows)

    trainer.add_callback(Watchdog())
    with verifier:
        trainer.train()
    assert rows == [32, 16, 32, 16]
    lines = lines_of(tmp_path)
    assert all(line["tokens_per_s"] > 0 and line["time_generate_s"] > 0 for line in lines)


def test_verifier_counts_are_those_of_the_rollout(tmp_path):
    trainer, verifiers = small_run("grpo", tmp_path)
    verifier, calls = trainer.rollout.problem_set.verifier, []
    original = verifier.begin

    def one_timeout():
        calls.append(1)
        verifier.counts["timeouts"] += 1
        return original()

    verifier.begin = one_timeout
    verifier.counts["timeouts"] = 7  # before the first rollout
    with verifiers:
        trainer.train()
    assert len(calls) == 2
    assert [line["verifier_timeouts"] for line in lines_of(tmp_path)] == [1, 1]


def test_completions_are_written_every_so_many_rollouts(tmp_path):
    trainer, verifier = small_run("grpo", tmp_path, "logging.every=2", "trainer.max_steps=4")
    with verifier:
        trainer.train()
    assert sorted(p.name for p in (tmp_path / "completions").iterdir()) == [
        "step000001-0.parquet",
        "step000003-0.parquet",
    ]


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_step(tmp_path):
    trainer, verifier = small_run("grpo", tmp_path, "trainer.max_completion_length=120")
    before = {n: p.clone() for n, p in trainer.model.named_parameters()}
    next(iter(trainer.model.parameters())).register_hook(lambda gradient: gradient * float("nan"))
    with verifier, pytest.raises(RunFailed, match="gradient's norm is nan at optimizer step 1"):
        trainer.train()
    assert all(torch.equal(p, before[n]) for n, p in trainer.model.named_parameters())


@pytest.mark.parametrize("recipe", ["drpo", "grpo_lambda"])
def test_strategies_cost_under_a_hundredth_of_a_step(recipe, tmp_path):
    trainer, verifier = small_run(
        recipe,
        tmp_path,
        "trainer.per_device_train_batch_size=64",
        "trainer.num_generations=8",
        "trainer.steps_per_generation=1",
        "trainer.max_completion_length=160",
    )
    with verifier:
        trainer.train()
    lines = lines_of(tmp_path)
    shares = [line["time_strategies_s"] / line["time_step_s"] for line in lines]
    assert 0 < min(shares) < 0.01  # of the calmer step: another process may have the core
