"""Numbers worked by hand or by brute force, and the examples of the docstrings."""

from __future__ import annotations

import doctest
import importlib
import json
import math
import pkgutil
from pathlib import Path

import pytest
import torch

import lenrl.strategies
from lenrl.rollouts import RewardResult
from lenrl.strategies.advantages.drpo import Drpo
from lenrl.strategies.advantages.grpo import Grpo
from lenrl.strategies.base import RunInfo
from lenrl.strategies.budgets.curriculum import Curriculum
from lenrl.strategies.budgets.palu import Palu
from lenrl.strategies.examples import groups, show
from lenrl.strategies.rewards.grpo_lambda import GrpoLambda
from lenrl.strategies.rewards.laser_d import LaserD
from lenrl.strategies.sampling.predictive import Predictive
from lenrl.strategies.truncation.dot import Dot

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "drpo_gradients_grpo_lambda.json").read_text())
MODULES = [m.name for m in pkgutil.walk_packages(lenrl.strategies.__path__, "lenrl.strategies.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("case", GOLDEN["grpo_lambda"], ids=lambda c: c["name"])
def test_grpo_lambda(case: dict) -> None:
    lengths = [group["lengths"] for group in case["groups"]]
    batch = groups(lengths, [group["correct"] for group in case["groups"]])
    rule = GrpoLambda(fraction=case["fraction"], alpha=case["alpha"])
    assert rule.selected(batch).nonzero().flatten().tolist() == case["selected"]
    reward = RewardResult(rule(batch))
    assert torch.allclose(reward.total_PG, torch.tensor(case["rewards"]).double(), atol=1e-6)
    assert torch.allclose(Grpo()(reward, batch), torch.tensor(case["advantages"]).double(), atol=1e-6)


@pytest.mark.parametrize("case", GOLDEN["drpo"], ids=lambda c: c["name"])
def test_drpo_advantage(case: dict) -> None:
    size = case["group"].count(0)

    def table(name: str) -> list[list[float]]:
        return torch.tensor(case[name]).reshape(-1, size).tolist()

    batch = groups(
        torch.tensor(case["lengths"]).reshape(-1, size).tolist(),
        table("correct"),
        max_length=case["max_length"],
        mean_logp_PG=table("mean_logp"),
    )
    rule = Drpo(lam=case["lam"], tau=case["tau"])
    pushed = rule(RewardResult(batch.correct_PG), batch).flatten()
    assert torch.allclose(pushed, torch.tensor(case["advantage"]).double(), atol=1e-6)


def test_drpo_leaves_out_unknown_and_empty_rows() -> None:
    batch = groups(
        [[100, 200, 0, 400, 300]],
        [[1, 1, 1, 0, math.nan]],
        mean_logp_PG=[[-0.5] * 5],
    )
    pushed = Drpo()(RewardResult(batch.correct_PG), batch)[0]
    assert pushed[2] == pushed[4] == 0
    assert pushed[:2].sum() == pytest.approx(5)
    assert pushed[3] == pytest.approx(-5)


@pytest.mark.parametrize("shape", ["linear", "concave", "cosine"])
def test_drpo_length_rewards(shape: str) -> None:
    batch = groups([[100, 400, 300]], [[1, 1, 0]], max_length=1000, mean_logp_PG=[[-0.5] * 3])
    value = {
        "linear": lambda x: 1 - x,
        "concave": lambda x: 1 - x * x,
        "cosine": lambda x: 0.5 + 0.5 * math.cos(math.pi * x),
    }[shape]
    odds = math.exp((value(0.1) - value(0.4)) / 0.1)
    pushed = Drpo(length_reward=shape)(RewardResult(batch.correct_PG), batch)[0]
    assert pushed[0].item() == pytest.approx(3 * odds / (1 + odds))


def test_grpo_is_a_sample_standard_deviation_over_valid_rows() -> None:
    r = torch.tensor([[1.0, 0.25, math.nan, -0.5]]).double()
    valid = r[0, [0, 1, 3]]
    expected = (valid - valid.mean()) / (valid.std() + 1e-4)
    pushed = Grpo()(RewardResult(r), groups([[1] * 4], [[1] * 4]))[0]
    assert torch.allclose(pushed[[0, 1, 3]], expected)
    assert pushed[2] == 0


@pytest.mark.parametrize(
    ("lengths", "correct", "kept"),
    [
        ([1000] * 31 + [4000], [1] * 32, 2684),
        ([500] * 31 + [570], [1] * 32, 570),
        ([500] * 31 + [571], [1] * 32, 539),
        ([1000] * 31 + [4000], [0] + [1] * 31, 4000),
    ],
)
def test_dot_cutoff(lengths: list[int], correct: list[int], kept: int) -> None:
    cut = Dot()(groups([lengths], [correct], max_length=8192))[0]
    assert cut[:31].tolist() == lengths[:31]
    assert cut[31] == kept


def test_dot_pushes_the_cut_row_down_if_its_answer_is_lost() -> None:
    c = torch.tensor([[1.0] * 31 + [0.0]]).double()
    assert show(Grpo()(RewardResult(c), groups([[1000] * 32], [[1] * 32])), 6)[0][::31] == [
        0.176677,
        -5.476979,
    ]


def test_dot_margin_fraction() -> None:
    lengths = [[500] * 31 + [600]]
    batch = groups(lengths, [[1] * 32])
    cutoff = math.floor(batch.tokens_PG.mean() + 3 * batch.tokens_PG.std())
    assert 600 - cutoff == 44
    assert Dot(margin_fraction=0.07)(batch)[0, 31] == cutoff  # 42 tokens
    assert Dot(margin_fraction=0.08)(batch)[0, 31] == 600  # 48 tokens
    assert Dot(margin_fraction=0.001)(groups([[100] * 31 + [116]], [[1] * 32]))[0, 31] == 116  # at least 16


@pytest.mark.parametrize(("size", "fires"), [(8, False), (10, False), (11, True), (32, True)])
def test_dot_refuses_an_alpha_that_cannot_fire(size: int, fires: bool) -> None:
    found = Dot().errors(RunInfo(num_generations=size, max_length=4096))
    assert (found == []) == fires
    if found:
        assert "(G-1)/sqrt(G)" in found[0]
        assert "at least 11" in found[0]


@pytest.mark.parametrize(("tau", "cap"), [(0.5, 1900), (0.2, 2760), (0.1, 4500)])
def test_palu_quantiles(tau: float, cap: int) -> None:
    lengths = [[1000, 1200, 1500, 1800, 2000, 2400, 3000, 8000]]
    run_info = RunInfo(8, 16384)
    rule = Palu(tau=tau)
    batch = groups(lengths, [[1] * 8], max_length=16384)
    assert rule(["q0"], [{}], 0, run_info)[0].cap == 16384
    rule.observe(batch, RewardResult(batch.correct_PG))
    assert rule(["q0"], [{}], 0, run_info)[0].cap == cap
    batch = groups(lengths, [[1] * 6 + [0] * 2], max_length=16384, budget_PG=[[2000.0] * 8])
    rule.observe(batch, RewardResult(batch.correct_PG))
    assert rule(["q0"], [{}], 0, run_info)[0].cap == 16384
    metrics = rule.metrics(batch, RewardResult(batch.correct_PG))
    budget = {"budget_mean": 2000.0, "budget_within_share": 5 / 8}
    assert metrics == budget | {"palu_at_max_share": 1.0, "palu_switches": 2.0}


def test_palu_shrinks_from_the_current_budget() -> None:
    rule = Palu(rule="shrink")
    batch = groups([[100, 200, 300, 500]], [[1] * 4], max_length=1000)
    for cap in (750, 500, 250, 1, 1):  # each visit takes 500 - 250 off
        rule.observe(batch, RewardResult(batch.correct_PG))
        assert rule(["q0"], [{}], 0, RunInfo(4, 1000))[0].cap == cap


@pytest.mark.parametrize(
    ("schedule", "budgets"),
    [
        ("constant", [256, 256, 256, 256]),
        ("linear", [256, 256 - 169 / 3, 256 - 2 * 169 / 3, 87]),
        ("geometric", [256, 256 * (87 / 256) ** (1 / 3), 256 * (87 / 256) ** (2 / 3), 87]),
    ],
)
def test_curriculum_drops_at_equal_shares(schedule: str, budgets: list[float]) -> None:
    rule = Curriculum(schedule=schedule, rounding="none")
    found = [rule.tokens(t, 400) for t in (99, 100, 200, 399)]
    assert found == pytest.approx(budgets)
    assert rule.tokens(5000, 400) == pytest.approx(budgets[-1])


def test_curriculum_rounding() -> None:
    assert [Curriculum(rounding=r).tokens(450, None) for r in ("floor", "nearest")] == [87.0, 88.0]


@pytest.mark.parametrize(
    ("history", "factor"),
    [([], 1.5), ([0.5] * 20, 2.0), ([0.4, 0.6], 2.2), ([0.1] * 20, 5.0), ([1.0] * 20, 1.2), ([0.0], 5.0)],
)
def test_predictive_factor(history: list[float], factor: float) -> None:
    rule = Predictive()
    rule.load_state_dict({"history": history})
    assert rule.factor() == pytest.approx(factor)


def test_laser_d_takes_the_smallest_target_that_covers() -> None:
    rule = LaserD(low=100, step=100, refresh=2)
    easy = groups([[150, 250, 350, 450, 550, 650]], [[1] * 6])  # k = 4: n must cover a quarter
    hard = groups([[150, 250, 350, 450, 550, 650]], [[0] * 6])  # k = 1: n must cover all
    rule.observe(easy, RewardResult(easy.correct_PG))
    assert rule.state_dict()["targets"]["easy"] is None, "before the first refresh"
    rule.observe(hard, RewardResult(hard.correct_PG))
    assert rule.state_dict()["targets"] == {"easy": 300, "medium": None, "hard": 700}
