"""PALU over several epochs: every budget follows from its prompt's last visit."""

from collections import defaultdict

import numpy as np
import pytest
import torch

from lenrl.rollouts import RewardResult
from lenrl.strategies.base import RunInfo
from lenrl.strategies.budgets.palu import Palu
from lenrl.strategies.examples import groups
from tests.training.runs import lines_of, rows_of, small_run

L_MAX = 180  # tokens
SIZE = 4
THRESHOLD, TAU = 0.7, 0.25


def next_cap(visit: list[dict]) -> int:
    """The rule of arXiv 2510.10168 on one visit's logged completions."""
    lengths = [row["tokens"] for row in visit if row["verdict"]]
    if len(lengths) / len(visit) < THRESHOLD:
        return L_MAX
    return min(L_MAX, max(1, int(np.floor(np.quantile(lengths, 1 - TAU) + 1e-6))))


def test_budgets_over_three_epochs_follow_the_last_visit(tmp_path):
    trainer, verifier = small_run(
        "palu",
        tmp_path,
        "task.train=6",
        "trainer.per_device_train_batch_size=12",
        f"trainer.max_completion_length={L_MAX}",
        "trainer.max_steps=6",
        f"budget.threshold={THRESHOLD}",
        f"budget.tau={TAU}",
    )
    with verifier:
        trainer.train()
    rows, lines = rows_of(tmp_path), lines_of(tmp_path)
    caps: dict[str, int] = defaultdict(lambda: L_MAX)
    visits: dict[str, int] = defaultdict(int)
    fell = rose = 0
    for rollout, line in enumerate(lines):
        batch = rows[rollout * 12 : (rollout + 1) * 12]
        assert line["budget_mean"] == pytest.approx(np.mean([row["budget"] for row in batch]))
        ended = [not row["truncated"] for row in batch]
        assert line["budget_within_share"] == pytest.approx(np.mean(ended))
        for p in range(3):
            visit = batch[p * SIZE : (p + 1) * SIZE]
            (prompt,) = {row["prompt_id"] for row in visit}
            assert {row["budget"] for row in visit} == {row["cap"] for row in visit} == {caps[prompt]}
            assert all(row["kept_tokens"] == row["tokens"] <= caps[prompt] for row in visit)
            assert all(row["tokens"] == caps[prompt] for row in visit if row["truncated"])
            visits[prompt] += 1
            before, caps[prompt] = caps[prompt], next_cap(visit)
            fell += before == L_MAX > caps[prompt]
            rose += before < L_MAX == caps[prompt]
        assert line["palu_switches"] == fell + rose
        assert line["palu_at_max_share"] == pytest.approx(np.mean([c == L_MAX for c in caps.values()]))
    assert len(visits) == 6 and set(visits.values()) == {3}, "three epochs of six prompts"
    assert fell and rose, "no budget fell, or none went back: the test shows nothing"


NATURAL = [1000, 1200, 1500, 1800, 2000, 2400, 3000, 8000]  # tokens to a correct answer, policy frozen


def visits_of(rule: Palu, count: int) -> tuple[list[int], list[float], float]:
    """(caps, pass rates, switches) of so many visits to a prompt whose policy does not change."""
    caps, rates, switches = [], [], 0.0
    for _ in range(count):
        cap = rule(["q0"], [{}], 0, RunInfo(8, 16384))[0].cap
        correct = [float(n <= cap) for n in NATURAL]
        batch = groups([[min(n, cap) for n in NATURAL]], [correct], max_length=16384)
        reward = RewardResult(torch.tensor([correct]).double())
        rule.observe(batch, reward)
        caps.append(cap)
        rates.append(sum(correct) / 8)
        switches = rule.metrics(batch, reward)["palu_switches"]
    return caps, rates, switches


def test_the_median_with_a_high_threshold_oscillates_and_the_log_counts_it():
    caps, rates, switches = visits_of(Palu(tau=0.5, threshold=0.8), 6)
    assert caps == [16384, 1900] * 3
    assert rates == [1.0, 0.5] * 3
    assert switches == 6


def test_a_cap_at_the_longest_correct_length_stays():
    caps, rates, switches = visits_of(Palu(tau=0.0, threshold=0.8), 6)
    assert caps == [16384] + [8000] * 5
    assert rates == [1.0] * 6
    assert switches == 1
