"""Worked numbers of the newer methods that their docstrings do not show, and what their options and states do.

The group, where nothing else is said: 1000, 2000, 3000, 4000 tokens, the third wrong.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import registry
from lenrl.strategies.base import RunInfo, as_reward
from lenrl.strategies.examples import GROUP, groups, show

COLUMNS = {
    "effort": ((0.8,) * 4,),
    "mode": (("short", "long", "short", "long"),),
    "reference_accuracy": ((0.5,) * 4,),
    "reference_length": ((3500,) * 4,),
    "target": ((2500,) * 4,),
    "limit": ((2300.0, 2300.0, 2300.0, 2300.0),),
}
BATCH = GROUP.with_(columns=COLUMNS)
LAST_CUT = BATCH.with_(truncated_PG=torch.tensor([[False, False, False, True]]))
CLOSE = groups([[1000, 1005, 1010, 995, 1300]], [[1] * 5])
EFFORT_1 = BATCH.with_(columns=COLUMNS | {"effort": ((1.0,) * 4,)})
HALF_RIGHT = groups([[800, 1000, 1100, 1300, 2500, 3000]], [[1, 1, 1, 1, 0, 0]])
ALL_RIGHT = groups([[1000, 2000, 3000, 4000]], [[1, 1, 1, 1]])


def confident(n: int, *, right: float) -> Rollouts:
    """Two completions of n steps of one token each, the later the surer, and an answer of one token."""
    steps = torch.tensor([[[*range(n), -1]] * 2])
    logps = torch.tensor([[[*(0.1 * i - 3 for i in range(n)), 0.0]] * 2])
    return groups([[n + 1] * 2], [[right, 1 - right]], carried={"step_numbers": steps, "logps": logps})


@pytest.mark.parametrize(
    ("options", "n", "right", "wrong"),
    [
        ({}, 10, [0, 1, 2], [7, 8, 9]),
        ({"ratio": 0.5}, 3, [0, 1], [2]),
        ({"ratio": 1}, 3, [0, 1], [0, 1, 2]),
        ({"ratio": 0}, 3, [], []),
        ({"apply": "correct"}, 10, [0, 1, 2], []),
        ({"apply": "wrong"}, 10, [], [7, 8, 9]),
        (
            {"rank": "std"},
            10,
            [0, 1, 2],
            [0, 1, 2],
        ),  # steps of one token deviate by 0: the earlier ones first
        ({}, 1, [], []),
    ],
)
def test_sas_loses_steps(options: dict, n: int, right: list[int], wrong: list[int]) -> None:
    batch = confident(n, right=1)
    advantage = made("advantage", "sas", options)(RewardResult(batch.correct_PG), batch)[0]
    assert [row.eq(0).nonzero().flatten().tolist() for row in advantage] == [right, wrong]
    assert (advantage[0] >= 0).all() and (advantage[1] <= 0).all()


def made(slot: str, name: str, options: dict[str, Any], state: dict[str, Any] | None = None) -> Any:
    rule = registry.build(slot, {"name": name, **options})
    rule.load_state_dict(state or {})
    return rule


@pytest.mark.parametrize(
    ("name", "options", "state", "batch", "rewards"),
    [
        ("pass_rate", {"scale": "group"}, {}, BATCH, [0.953125, 0.90625, -0.140625, 0.8125]),
        ("smart_thinker", {}, {}, HALF_RIGHT, [1, 1, 0.880823, 0.576165, 0, 0]),
        ("smart_thinker", {}, {}, ALL_RIGHT, [1, 1, 1, 1]),
        ("zmad", {}, {}, BATCH, [1, 1, 0, 1]),
        ("zmad", {"threshold": 1}, {}, BATCH, [1, 1, 0, 0.9]),
        ("zmad", {}, {}, CLOSE, [1, 1, 1, 1, 1]),
        ("zmad", {"tolerance": 0}, {}, CLOSE, [1, 1, 1, 1, 0.9]),
        ("relative", {"limit": 2300}, {}, BATCH, [1.044444, 1.011111, 0, 0.944444]),
        ("relative", {"limit": 2400}, {}, BATCH, [1, 1, 0, 1]),
        ("relative", {"limit": 2400, "over": "all"}, {}, BATCH, [1.044444, 1.011111, 0, 0.944444]),
        ("relative", {"limit": 9999, "limit_column": "limit"}, {}, BATCH, [1.044444, 1.011111, 0, 0.944444]),
        ("relative", {"weight": 0}, {}, BATCH, [1, 1, 0, 1]),
        ("leash", {"target": 2000}, {}, BATCH, [1, 1, -1, 0.99]),
        ("laconic", {}, {}, LAST_CUT, [1, 1, 0, 0.9]),
        ("laconic", {"lam": 0.1, "hit": 0, "cap": 0.05}, {}, LAST_CUT, [1, 1 - 1 / 30, -0.05, 0.95]),
        ("acoer", {"alpha": 0.5, "start": 2000}, {}, BATCH, [1.34959, 1, 0, 1]),
        ("hapo", {}, {"shortest": {"q0": 1000}}, BATCH, [1, 0.3, -1, 0.3]),
        ("hapo", {"weight": 0.5, "floor": 0.2}, {"shortest": {"q0": 1000}}, BATCH, [1, 0.9, -0.5, 0.9]),
        ("hapo", {}, {}, BATCH, [1, 1, 0, 1]),
        ("toggle", {"source": "group"}, {}, BATCH, [1, 1, 0, 0]),
        ("toggle", {"source": "group", "quantile": 1}, {}, BATCH, [1, 1, 0, 1]),
        ("toggle", {"source": "column"}, {}, BATCH, [1, 1, 0, 0]),
        ("toggle", {"source": "group", "threshold": 0.8}, {}, BATCH, [1, 1, 0, 1]),
        ("toggle", {"source": "group", "period": 5}, {}, BATCH.with_(step=5), [1, 1, 0, 1]),
        ("toggle", {}, {}, BATCH, [1, 1, 0, 1]),
        ("short_rl", {"slack": 1000}, {}, BATCH, [3.5, 3.5, -0.5, 2.5]),
        ("short_rl", {"correct": 1, "wrong": 2}, {"best": 0.8}, BATCH, [1.5, 1.166667, -2, 0.5]),
        ("short_rl", {"drop": 0.04}, {"best": 0.8}, BATCH, [3, 3, -0.5, 3]),
        ("o1_pruner", {"reference": "column"}, {}, BATCH, [4, 3.25, -2, 2.375]),
        ("o1_pruner", {"alpha": 2, "low": 1, "high": 1}, {}, BATCH, [1, 0.75, -1, 0.125]),
        ("effort", {"reference": "group"}, {}, EFFORT_1, [1, 1, 0, 0]),
        ("effort", {"reference": "first"}, {"length": {"q0": 3000}}, BATCH, [1, 1, 0, 0]),
        ("effort", {}, {}, BATCH, [1, 1, 0, 1]),
        ("adapt_think", {"reference": "none", "delta": 0.1}, {}, BATCH, [1.1, 1, 0.1, 1]),
    ],
)
def test_rewards(name: str, options: dict, state: dict, batch: Rollouts, rewards: list[float]) -> None:
    paid = as_reward(made("reward", name, options, state)(batch)).total_PG
    assert paid[0].tolist() == pytest.approx(rewards, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "part", "values"),
    [
        ({"shape": "upper"}, "efficiency", [0, 0, -0.285714, -0.714286]),
        ({"aggregate": "min"}, "efficiency", [1, 0, -1, -1]),
        ({"aggregate": "median"}, "efficiency", [0.5, 1, 0.5, 0]),
        ({"high": 2000}, "efficiency", [0.5, 1, 0.5, 0]),
        ({"low": 4000}, "efficiency", [0.25, 0.5, 0.75, 1]),
        ({"shape": "asymmetric", "suspicious": 1001}, "efficiency", [0, 0.142857, -0.285714, 0]),
    ],
)
def test_lead_dynamic_efficiency(options: dict, part: str, values: list[float]) -> None:
    paid = made("reward", "lead_dynamic", options)(BATCH).parts[part]
    assert paid[0].tolist() == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize(
    ("reward", "of_reward", "advantage", "of_advantage", "batch", "expected"),
    [
        ("pass_rate", {}, "dr_grpo", {}, BATCH, [0.318665, 0.272888, -0.772888, 0.181335]),
        (
            "pass_rate",
            {"gated": True, "scale": "correct", "weight": 0.2},
            "dr_grpo",
            {},
            BATCH,
            [0.278125, 0.240625, -0.684375, 0.165625],
        ),
        ("smart_thinker", {}, "grpo", {}, BATCH, [0.842738, 0.561825, -1.404563, 0]),
        ("ddca", {}, "ddca", {}, ALL_RIGHT, [0.058552, 0.021995, -0.021995, -0.058552]),
        ("ddca", {"dynamic": False}, "ddca", {}, BATCH, [0.62497, 0.589371, -1.732051, 0.51771]),
        ("ddca", {"beta": 0}, "ddca", {}, BATCH, [0.57735, 0.57735, -1.732051, 0.57735]),
        ("relative", {}, "grpo", {}, BATCH, [0.586747, 0.520323, -1.494544, 0.387474]),
        ("leash", {"target": 2000, "lam": 0.5}, "grpo", {}, BATCH, [0.660268, 0.660268, -1.452591, 0.132054]),
        ("laconic", {}, "grpo", {}, LAST_CUT, [0.566162, 0.566162, -1.492609, 0.360285]),
        ("laconic", {"lam": 0.1}, "grpo", {}, LAST_CUT, [0.680959, 0.616105, -1.459197, 0.162133]),
        ("acoer", {}, "grpo", {}, BATCH, [0.512719, 0.506208, -1.499559, 0.480632]),
        ("short_rl", {}, "grpo", {}, BATCH, [0.730257, 0.547693, -1.460513, 0.182564]),
        ("o1_pruner", {}, "batch_whitened", {}, BATCH, [1.130238, 0.412627, -1.596685, 0.053821]),
        (
            "o1_pruner",
            {"reference": "column"},
            "batch_whitened",
            {},
            BATCH,
            [0.899592, 0.57735, -1.678344, 0.201401],
        ),
        ("lead_dynamic", {}, "lead_dynamic", {}, BATCH, [0.180021, 1.920156, -0.806745, -0.400025]),
        (
            "lead_dynamic",
            {},
            "lead_dynamic",
            {"whiten": False},
            BATCH,
            [-0.020314, 0.795478, -0.482919, -0.292245],
        ),
        (
            "lead_dynamic",
            {},
            "lead_dynamic",
            {"weight": 0.5},
            BATCH,
            [0.172666, 1.924756, -0.792241, -0.411364],
        ),
        ("adapt_think", {"reference": "none"}, "dr_grpo", {}, BATCH, [0.275, 0.225, -0.725, 0.225]),
    ],
)
def test_advantages(
    reward: str, of_reward: dict, advantage: str, of_advantage: dict, batch: Rollouts, expected: list[float]
) -> None:
    paid = as_reward(made("reward", reward, of_reward)(batch))
    pushed = made("advantage", advantage, of_advantage)(paid, batch)
    assert pushed[0].tolist() == pytest.approx(expected, abs=1e-6)


def observed(rule: Any, *batches: Rollouts) -> dict[str, Any]:
    for batch in batches:
        rule.observe(batch, as_reward(rule(batch)))
    return json.loads(json.dumps(rule.state_dict()))


@pytest.mark.parametrize(
    ("name", "options", "field", "value"),
    [
        ("leash", {"target": 2000, "lam": 0.5, "constraint": "max"}, "lam", 0.52),
        ("leash", {}, "lam", 0.002207),
        ("leash", {"lr": 0}, "lam", 0.01),
        ("laconic", {}, "lam", 0.001333),
        ("laconic", {"lam": 0.1}, "lam", 0.1),
        ("laconic", {"lam": 0.05, "low": 0.05, "target": 9000}, "lam", 0.05),
        ("toggle", {}, "budget", {"q0": 2000}),
        ("effort", {}, "length", {"q0": 2500}),
        ("short_rl", {}, "best", 0.75),
    ],
)
def test_states_after_a_batch(name: str, options: dict, field: str, value: Any) -> None:
    assert observed(made("reward", name, options), BATCH)[field] == pytest.approx(value, abs=1e-6)


def test_a_state_that_remembers_the_first_visit_keeps_it() -> None:
    longer = groups([[3000, 3000, 3000, 3000]], [[1, 1, 1, 1]], columns=COLUMNS)
    for name, options, kept in (
        ("toggle", {}, {"budget": {"q0": 2000}}),
        ("effort", {"reference": "first"}, {"length": {"q0": 2500}}),
        ("effort", {"reference": "last"}, {"length": {"q0": 3000}}),
        ("hapo", {}, {"shortest": {"q0": 1000}}),
    ):
        assert observed(made("reward", name, options), BATCH, longer) == kept


def test_acoer_follows_accuracy_and_length() -> None:
    rule = made("reward", "acoer", {"window": 2})
    for step, alpha, budget in ((200, 0.02, 4096), (201, 0.0204, 1983.333333), (202, 0.020808, 1983.333333)):
        state = observed(rule, BATCH.with_(step=step))
        assert (state["alpha"], state["budget"]) == pytest.approx((alpha, budget))
    rule = made("reward", "acoer", {"window": 2}, state | {"alpha": 0.02})
    state = observed(rule, groups([[500] * 4], [[0] * 4], step=203))
    assert (state["alpha"], state["budget"]) == pytest.approx((0.019, 1983.333333))
    assert state["length"] == pytest.approx(7000 / 3), "a batch without a right answer has no length"


def test_the_budget_of_acoer_follows_the_length_also_where_accuracy_falls() -> None:
    rule = made("reward", "acoer", {"window": 2, "warmup": 0})
    batches = groups([[3000] * 4], [[1] * 4]), groups([[1000] * 4], [[1, 0, 0, 0]])
    state = observed(rule, *batches)
    assert (state["alpha"], state["budget"]) == pytest.approx((0.019, 2483.333333))


@pytest.mark.parametrize(
    ("options", "alpha"),
    [
        ({"up": 1.5}, 0.03),
        ({"up": 1.5, "alpha_max": 0.025}, 0.025),
        ({"warmup": 201}, 0.02),
        ({"ratio": 0.5}, 0.0204),
    ],
)
def test_acoer_options(options: dict, alpha: float) -> None:
    state = observed(made("reward", "acoer", {"window": 1, **options}), BATCH.with_(step=200))
    assert state["alpha"] == pytest.approx(alpha)
    if "ratio" in options:
        assert state["budget"] == pytest.approx(7000 / 6)
    assert (
        observed(made("reward", "acoer", {"window": 1, "low": 3000}), BATCH.with_(step=200))["budget"] == 3000
    )


def test_acoer_takes_back_where_accuracy_falls() -> None:
    wrong = groups([[500] * 4], [[0] * 4], step=200)
    for options, alpha in (({}, 0.019), ({"down": 0.1}, 0.01), ({"drop": 1}, 0.0204), ({"span": 1}, 0.019)):
        rule = made("reward", "acoer", {"window": 2, **options})
        assert observed(rule, BATCH, wrong)["alpha"] == pytest.approx(alpha)
    fast = observed(made("reward", "acoer", {"window": 2, "span": 1}), BATCH, wrong)
    assert fast["accuracy"] == 0, "a span of 1 forgets at once"


def test_lead_dynamic_weight_follows_the_batch() -> None:
    reward = made("reward", "lead_dynamic", {})(BATCH)
    for options, weight in (
        ({}, 0.503334),
        ({"beta": 0}, 0.566683),
        ({"beta": 1}, 0.5),
    ):
        rule = made("advantage", "lead_dynamic", options)
        rule.observe(BATCH, reward)
        assert rule.state_dict()["weight"] == pytest.approx(weight, abs=1e-6)
    least = made("advantage", "lead_dynamic", {"w_min": 0.9, "whiten": False})
    fixed = made("advantage", "lead_dynamic", {"weight": 0.9, "whiten": False})
    assert torch.equal(least(reward, BATCH), fixed(reward, BATCH))
    steep = made("advantage", "lead_dynamic", {"alpha": 0, "beta": 0})
    steep.observe(BATCH, reward)
    assert steep.state_dict()["weight"] != pytest.approx(0.566683, abs=1e-3)


def test_lead_dynamic_leaves_groups_alone_that_are_flat_in_both_parts() -> None:
    batch = groups([[1000, 2000], [3000, 3000]], [[1, 0], [0, 0]])
    reward = made("reward", "lead_dynamic", {})(batch)
    pushed = made("advantage", "lead_dynamic", {})(reward, batch)
    assert pushed[0].all() and not pushed[1].any()


def test_short_rl_pays_least_for_what_nobody_can_read() -> None:
    batch = groups([[10, 20]], [[0, 0]], formatted_PG=[[True, False]])
    assert made("reward", "short_rl", {})(batch).total_PG.tolist() == [[-0.5, -3.0]]
    assert made("reward", "short_rl", {"unreadable": 1})(batch).total_PG.tolist() == [[-0.5, -1.0]]


def test_effort_budget_stays_on_its_grid_and_says_so() -> None:
    rule = made("budget", "effort", {"low": 0.5, "high": 0.6, "grid": 0.1, "hint": "{percent}"})
    drawn = {
        (row.columns["effort"], row.hint) for s in range(20) for row in rule(["q"], [{}], s, RunInfo(1, 9))
    }
    assert drawn == {(0.5, "50"), (0.6, "60")}
    other = made("budget", "effort", {"low": 0.5, "high": 0.6, "grid": 0.1, "seed": 1})
    asked = [
        [made_.columns["effort"] for s in range(20) for made_ in r(["q"], [{}], s, RunInfo(1, 9))]
        for r in (rule, other)
    ]
    assert asked[0] != asked[1]


ONCE = RunInfo(8, 4096, max_steps=100, rollout_rows=255, visits=0.5, scaled_by_group_std=True)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("hapo", {}, "inert"),
        ("toggle", {}, "inert"),
        ("effort", {}, "inert"),
        ("effort", {}, "reference=first"),
        ("acoer", {}, "nothing adapts"),
        ("acoer", {}, "alpha"),
        ("leash", {}, "lam"),
        ("laconic", {"cap": 0.9}, "add up to 1"),
        ("laconic", {}, "wrong answers too"),
        ("pass_rate", {}, "wrong answers too"),
        ("pass_rate", {"gated": True}, "weight"),
        ("relative", {}, "weight"),
        ("o1_pruner", {}, "wrong answers too"),
        ("short_rl", {}, "255 completions a rollout are few"),
    ],
)
def test_warnings(name: str, options: dict, words: str) -> None:
    assert any(words in message for message in made("reward", name, options).warnings(ONCE))


def test_quiet_where_there_is_nothing_to_warn_of() -> None:
    often = RunInfo(8, 4096, max_steps=10_000, rollout_rows=256, visits=3)
    for name, options in (
        ("hapo", {}),
        ("toggle", {}),
        ("effort", {"reference": "first"}),
        ("acoer", {}),
        ("leash", {}),
        ("short_rl", {}),
    ):
        assert made("reward", name, options).warnings(often) == []


def test_alp_says_how_much_of_an_advantage_grpo_leaves() -> None:
    """Two of four at 0 tokens and two at the cap deviate most."""
    info = RunInfo(4, 1000, scaled_by_group_std=True)
    rule, far = made("reward", "alp", {}), groups([[0, 0, 1000, 1000]], [[1, 1, 1, 1]])
    paid = rule(far).total_PG
    left = made("advantage", "grpo", {})(RewardResult(paid), far)[0, 0] / (0.75**0.5)
    [message] = rule.warnings(info)
    assert f"at most {paid.std().item():.2g}" in message and f"leaves at most {left:.2g} of" in message
    assert "no leverage" in made("reward", "alp", {"beta": 1e-3}).warnings(info)[0]


def test_zmad_refuses_groups_of_two() -> None:
    rule = made("reward", "zmad", {})
    assert "at least 3" in rule.errors(RunInfo(2, 4096))[0] and rule.errors(RunInfo(3, 4096)) == []
    assert made("reward", "zmad", {"threshold": 0.5}).errors(RunInfo(2, 4096)) == []


@pytest.mark.parametrize(
    ("name", "state"),
    [("leash", {"lam": 3}), ("short_rl", {"best": 1.5}), ("acoer", {"alpha": 0.1, "other": 1})],
)
def test_a_state_that_no_run_wrote_is_refused(name: str, state: dict) -> None:
    with pytest.raises(ValueError, match=r"lam|best|fields"):
        made("reward", name, {}, state)


@pytest.mark.parametrize("options", [{"lam": 3}, {"low": 1}, {"high": 0.001}])
def test_bounds_of_a_dual_variable_are_ordered(options: dict) -> None:
    with pytest.raises(Exception, match="between low"):
        made("reward", "leash", options)


def test_columns_are_named_where_an_option_reads_them() -> None:
    for name, options, columns in (
        ("toggle", {}, ()),
        ("toggle", {"source": "column"}, ("target",)),
        ("relative", {"limit_column": "limit"}, ("limit",)),
        ("o1_pruner", {"reference": "column"}, ("reference_length", "reference_accuracy")),
        ("adapt_think", {}, ("mode", "reference_accuracy")),
        ("adapt_think", {"reference": "none"}, ("mode",)),
    ):
        assert made("reward", name, options).reads_columns == columns


def test_plain_and_batch_normalised() -> None:
    batch = groups([[10, 20], [10, 20]], [[1, 1], [1, 0]])
    reward = RewardResult(batch.correct_PG)
    assert show(made("advantage", "plain", {})(reward, batch)) == [[1, 1], [1, 0]]
    assert show(made("advantage", "batch_normalised", {})(reward, batch)) == [
        [0.5774, 0.5774],
        [0.5774, -1.7321],
    ]
