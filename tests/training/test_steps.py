"""What belongs to one optimizer step: totals, figures, gradients, and what they cost."""

import pytest
import torch
from transformers import TrainerCallback

from lenrl.errors import RunFailed
from lenrl.training.trl_batch import useful_token_share
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


def test_useful_tokens_are_counted_over_what_the_update_computes(tmp_path):
    """Of 6 groups sampled 4 are kept: the others are in no forward of the update."""
    trainer, verifier = small_run(
        "base",
        tmp_path,
        "sampling=predictive",
        "trainer.max_completion_length=120",
        "trainer.max_steps=1",
    )
    with verifier:
        trainer.train()
    useful = computed = 0
    for batch in trainer._buffered_inputs:
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        useful += attention[batch["advantages"] != 0].sum().item()
        computed += attention.numel()
    (line,) = lines_of(tmp_path)
    assert useful > 0
    assert line["useful_token_share"] == pytest.approx(useful / computed)


def test_useful_token_share_of_advantages_a_token():
    output = {
        "prompt_ids": torch.zeros(2, 2),
        "prompt_mask": torch.tensor([[0, 1], [1, 1]]),
        "completion_ids": torch.zeros(2, 3),
        "completion_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
        "advantages": torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, 0.0]]),
    }
    assert useful_token_share(output, lambda sums: sums.tolist()) == pytest.approx(3 / 10)


def test_verifier_counts_are_those_of_the_rollout(tmp_path):
    trainer, verifier = small_run("grpo", tmp_path)
    original, calls = verifier.verify, []

    def one_timeout(claims):
        calls.append(len(claims))
        verifier.counts["timeouts"] += 1
        return original(claims)

    verifier.verify = one_timeout
    verifier.counts["timeouts"] = 7  # before the first rollout
    with verifier:
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
    spent = sum(line["time_strategies_s"] for line in lines)
    assert 0 < spent < 0.01 * sum(line["time_step_s"] for line in lines)
