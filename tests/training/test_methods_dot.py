"""DOT through the whole trainer, on prepared completions."""

import math

import numpy as np
import pytest

from lenrl.cli import main
from lenrl.launch import supervise as launch_run
from lenrl.training import build as build_module
from tests.training.runs import answer, force, lines_of, rows_of, small_run

SIZE = 16
DOT = [
    f"trainer.num_generations={SIZE}",
    "trainer.max_completion_length=400",
    "trainer.max_steps=4",  # one rollout
    "task.train=8",
]


def run(tmp_path, *overrides):
    """One rollout of three groups, of which completion 0 is an outlier: (rows by group, inputs of the loss).

    Group 0: all correct, the outlier answers at its end. Group 1: one wrong. Group 2: all correct, the outlier
    answers at once and goes on.
    """
    trainer, verifier = small_run("dot", tmp_path, *DOT, *overrides)
    order: list[str] = []

    def choose(problem, k):
        if problem.id not in order:
            order.append(problem.id)
        kind = order.index(problem.id)
        if k == 0:
            return answer(True, problem, steps=1, after=300) if kind == 2 else answer(True, problem, steps=50)
        return answer(kind != 1 or k != 5, problem, steps=k % 4)

    force(trainer, choose)
    inputs = []
    loss = trainer._compute_loss

    def spy(model, batch):
        inputs.append(batch)
        found = loss(model, batch)
        assert (batch["completion_mask"].diff(dim=1) <= 0).all(), "the first tokens are kept"
        assert trainer.update.totals.tokens == batch["completion_mask"].sum().item()
        return found

    trainer._compute_loss = spy
    with verifier:
        trainer.train()
    rows = rows_of(tmp_path)
    assert len(rows) == 3 * SIZE
    return [rows[i : i + SIZE] for i in range(0, len(rows), SIZE)], inputs


def cutoff(group) -> int:
    tokens = np.array([row["tokens"] for row in group])
    return math.floor(tokens.mean() + 3 * tokens.std(ddof=1))


def seen_by_the_loss(inputs) -> list[int]:
    """Tokens of every row that the loss saw, sorted."""
    return sorted(n for batch in inputs for n in batch["completion_mask"].sum(-1).tolist())


def test_the_outlier_of_a_solved_group_is_cut_and_verified_again(tmp_path):
    groups, inputs = run(tmp_path, "sampling=uniform", "trainer.per_device_train_batch_size=12")
    lost, mixed, early = groups
    for group in (lost, early):
        first, *others = group
        assert first["tokens"] - cutoff(group) >= 32, "no outlier: the test shows nothing"
        assert first["kept_tokens"] == cutoff(group)
        assert all(row["kept_tokens"] == row["tokens"] and row["verdict"] for row in others)
    assert max(row["tokens"] for row in mixed) - cutoff(mixed) >= 32, "it would have been cut"
    assert all(row["kept_tokens"] == row["tokens"] for row in mixed)
    assert [row["verdict"] for row in mixed] == [k != 5 for k in range(SIZE)]

    assert lost[0]["verdict"] is False and "boxed" not in lost[0]["completion"]
    r = np.array([0.0] + [1.0] * (SIZE - 1))
    expected = (r - r.mean()) / (r.std(ddof=1) + 1e-4)
    assert [row["advantage"] for row in lost] == pytest.approx(expected.tolist(), abs=1e-6)
    assert early[0]["verdict"] is True
    assert [row["advantage"] for row in early] == [0] * SIZE

    kept = sorted(row["kept_tokens"] for group in groups for row in group)
    assert seen_by_the_loss(inputs) == kept
    assert {batch["num_items_in_batch"].item() for batch in inputs} == {sum(kept)}
    for line in lines_of(tmp_path):
        assert line["cut_completions"] == 2 and line["cut_broken_share"] == 0.5
        assert line["cut_tokens"] == sum(g[0]["tokens"] - g[0]["kept_tokens"] for g in (lost, early))
        assert line["dot_eligible_share"] == pytest.approx(2 / 3)
        assert line["kl_cov_share"] > 0
    assert [line["kl_cov_idle"] for line in lines_of(tmp_path)][-1] == 0, "the policy has moved"


def test_a_cut_that_costs_nothing_teaches_nothing(tmp_path):
    """As shipped, with predictive sampling: 3 groups for 2 places, the one whose verdicts tie is left out."""
    groups, inputs = run(tmp_path, "trainer.per_device_train_batch_size=8")
    assert [group[0]["in_update"] for group in groups] == [True, True, False]
    kept = sorted(row["kept_tokens"] for group in groups[:2] for row in group)
    assert seen_by_the_loss(inputs) == kept
    assert {batch["num_items_in_batch"].item() for batch in inputs} == {sum(kept)}
    line = lines_of(tmp_path)[0]
    named = ("sampling_factor", "prompts_sampled", "prompts_kept", "prompts_filled")
    assert [line[name] for name in named] == [1.5, 3, 2, 0]


def test_an_outlier_that_cannot_exist_is_refused_before_a_model_loads(tmp_path, monkeypatch, capsys):
    def reached(*_, **__):
        raise AssertionError("a process was started, or a model loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch_run, "supervise", reached)
    monkeypatch.setattr(build_module, "SlottedGRPO", reached)
    assert main(["train", "dot", "trainer.num_generations=8"]) == 2
    message = capsys.readouterr().err
    assert "truncation.alpha=3 can never fire with G=8" in message
    assert f"(G-1)/sqrt(G) = {7 / 8**0.5:.4f}" in message
    assert "at least 11" in message
    assert not list(tmp_path.iterdir())
    with pytest.raises(AssertionError, match="was started"):
        main(["train", "dot", "trainer.num_generations=16"])
