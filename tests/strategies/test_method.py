"""The shared pipeline: what it checks, what it protects, what it warns of."""

from __future__ import annotations

import math
import time
from typing import ClassVar

import pytest
import torch

from lenrl.errors import BadInput, PluginFailed
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import contract, registry
from lenrl.strategies.base import Budget, PromptBudget, Reward, RunInfo, Sampling, Truncation
from lenrl.strategies.diagnostics import diagnose
from lenrl.strategies.examples import GROUP, groups
from lenrl.strategies.length_figures import length_accuracy, penalty_figures
from lenrl.strategies.method import BadStrategy, Method, NonfiniteReward
from tests.strategies.cases import NEUTRAL


def method(**slots) -> Method:
    built = {}
    for slot, name in (NEUTRAL | slots).items():
        built[slot] = registry.build(slot, {"name": name} if isinstance(name, str) else name)
    return Method(**built)


def paying(value) -> Method:
    class Third(Reward):
        name = "third"

        def __call__(self, rollouts: Rollouts):
            return value(rollouts) if callable(value) else value

    return Method(**{**method().slots, "reward": Third()})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0] * 4, "third.*list"),
        (torch.ones(4), r"third.*\(4,\).*\(1, 4\)"),
        (None, "third.*NoneType"),
        (RewardResult(torch.ones(1, 4), {"odd": torch.ones(4, 1)}), "part 'odd'.*third"),
        (RewardResult(torch.ones(1, 4), None), "parts of reward 'third'.*NoneType"),  # type: ignore[arg-type]
        (torch.ones(1, 4, dtype=torch.complex64), "third.*complex64"),
    ],
)
def test_a_reward_of_wrong_type_or_shape_is_named(value, message: str) -> None:
    with pytest.raises(BadStrategy, match=message):
        paying(value).rewards(GROUP)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "returned NoneType, expected a list of 2"),
        ([PromptBudget()], "1 budgets for 2 rows"),
        ([PromptBudget(budget="300")] * 2, "budget of '300' tokens"),  # type: ignore[arg-type]
        ([PromptBudget(), PromptBudget(hint=300)], "row 1 hint=300, must be a text"),  # type: ignore[arg-type]
    ],
)
def test_budgets_that_are_none_are_named(given, message: str) -> None:
    class Odd(Budget):
        name = "odd"

        def __call__(self, prompt_ids, columns, step, run_info):
            return given

    with pytest.raises(BadStrategy, match=message):
        Method(**{**method().slots, "budget": Odd()}).budgets(["q", "q"], [{}, {}], 0, RunInfo(2, 100))


def test_a_mask_is_no_kept_length() -> None:
    class Mask(Truncation):
        name = "mask"

        def __call__(self, rollouts):
            return rollouts.length_PG > 2000

    with pytest.raises(BadStrategy, match="mask.*torch.bool"):
        Method(**{**method().slots, "truncation": Mask()}).truncate(GROUP)


def test_figures_are_numbers_and_strategies_know_lengths_as_whole_tokens() -> None:
    """The diagnostics replace lengths, and call the reward with them too."""

    class Counting(Reward):
        name = "counting"
        figure: ClassVar[object] = 1.5

        def __call__(self, rollouts):
            return torch.tensor([[float(len(range(n))) for n in row] for row in rollouts.length_PG.tolist()])

        def metrics(self, rollouts, reward):
            return {"figure": self.figure}

    counting, batch = Counting(), groups([[10, 21, 30, 41]], [[1, 1, 0, 1]])
    m = Method(**{**method().slots, "reward": counting})
    reward = m.rewards(batch)
    assert diagnose(m, reward, m.advantages(reward, batch), batch)["penalty_leverage"] > 0.5
    assert m.metrics(batch, reward) == {"figure": 1.5}
    Counting.figure = torch.tensor(1.5)
    with pytest.raises(BadStrategy, match="counting.*Tensor for its figure 'figure'"):
        m.metrics(batch, reward)


@pytest.mark.parametrize(
    ("reward", "column", "value", "message"),
    [
        ("lcpo_exact", "target", "many", "'target' of prompt 'q0' is 'many': must be a number"),
        ({"name": "o1_pruner", "reference": "column"}, "reference_accuracy", [1], "'reference_accuracy'"),
        ({"name": "o1_pruner", "reference": "column"}, None, None, "no field 'reference_length'"),
        ("tldr", "level", ["short"], "must be one of"),
    ],
)
def test_a_column_of_something_else_is_named(reward, column, value, message: str) -> None:
    columns = {"reference_length": ((900,) * 4,)} if column else {}
    with pytest.raises(BadInput, match=message):
        method(reward=reward).rewards(GROUP.with_(columns=columns | {column: ((value,) * 4,)}))


@pytest.mark.parametrize(
    ("reward", "state"),
    [
        ("hapo", {"shortest": {"q": math.nan}}),
        ("hapo", {"longest": {"q": 3}}),
        ("effort", {"length": {"q": math.nan}}),
        ("toggle", {"budget": {"q": -3}}),
        ("acoer", {"alpha": "much"}),
        ("acoer", {"budget": None}),
        ("acoer", {"history": [0.5, 2]}),
    ],
)
def test_a_state_that_no_run_leaves_is_refused(reward: str, state: dict) -> None:
    with pytest.raises(BadInput, match=f"state of reward '{reward}' is refused"):
        method(reward=reward).load_state_dict({"reward": state})


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([0], "expected an int64 tensor"),
        (torch.tensor([True, False, True]), "expected an int64 tensor"),
        (torch.tensor([1, 1]), r"\[1, 1\]: must be at most 2 different ones of 0 to 2"),
        (torch.tensor([-1]), "must be at most 2"),
        (torch.tensor([3]), "must be at most 2"),
        (torch.tensor([0, 1, 2]), "must be at most 2"),
    ],
)
def test_groups_that_can_not_be_kept_are_named(kept, message: str) -> None:
    assert contract.kept_groups("sampling 's'", torch.tensor([0, 2]), total=3, most=2) == [0, 2]
    with pytest.raises(BadStrategy, match=message):
        contract.kept_groups("sampling 's'", kept, total=3, most=2)


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf, "2", None])
def test_a_factor_is_a_number_of_at_least_one(value) -> None:
    class Odd(Sampling):
        name = "odd"

        def factor(self):
            return value

        def keep(self, signal_P, prompts):
            return signal_P.nonzero().squeeze(1)

    with pytest.raises(BadStrategy, match="odd.*has a factor of"):
        Method(**{**method().slots, "sampling": Odd()}).factor()


def test_a_group_without_verdicts_has_the_same_advantages_beside_one_that_has_them() -> None:
    """Parts that a group lacks are none of those that `decoupled` averages."""
    m = method(reward="range", advantage="decoupled")
    unknown, known = [math.nan] * 3, [1, 0, 1]
    columns = {"lo": ((50,) * 3,) * 2, "hi": ((60,) * 3,) * 2}
    both = groups([[10, 20, 30]] * 2, [unknown, known], columns=columns)
    alone = groups([[10, 20, 30]], [unknown], columns={name: rows[:1] for name, rows in columns.items()})
    pushed = m.advantages(m.rewards(both), both)
    assert torch.equal(pushed[:1], m.advantages(m.rewards(alone), alone))
    assert torch.allclose(pushed[0], torch.tensor([-1.0, 0.0, 1.0]).double(), atol=1e-3)


class Spoiling(Reward):
    """A plug-in's reward that edits what it is shown, and asks G of a run that does not say it."""

    name = "spoiling"

    def __call__(self, rollouts: Rollouts) -> torch.Tensor:
        rollouts.length_PG.zero_()
        return rollouts.correct_PG if rollouts.G == 4 else rollouts.correct_PG[0]

    def errors(self, run_info: RunInfo) -> list[str]:
        return ["few"] if run_info.num_generations < 4 else []  # type: ignore[operator]


def test_a_part_of_a_sum_is_held_to_the_contract_as_a_reward_is(monkeypatch) -> None:
    built_in = registry.plugins.named
    monkeypatch.setattr(
        registry.plugins,
        "named",
        lambda slot, name, *rest: Spoiling if name == "spoiling" else built_in(slot, name, *rest),
    )
    m = method(reward={"name": "weighted", "parts": [{"name": "spoiling"}, {"name": "length_penalty"}]})
    assert (
        m.rewards(GROUP).parts["length_penalty"][0, 3]
        == method(reward="length_penalty").rewards(GROUP).total_PG[0, 3]
    )
    with pytest.raises(BadStrategy, match=r"reward 'spoiling' .*returned shape \(3,\)"):
        m.rewards(groups([[1, 2, 3]], [[1, 0, 1]]))
    with pytest.raises(PluginFailed, match="reward 'spoiling' raised TypeError"):
        Method(**{**method().slots, "reward": Spoiling()}).errors(RunInfo(None, 100))


def test_a_rule_that_is_a_part_twice_has_its_figures_twice() -> None:
    parts = [{"name": "leash", "lam": 0.1}, {"name": "leash", "lam": 0.2}]
    m = method(reward={"name": "weighted", "parts": parts})
    found = m.metrics(GROUP, m.rewards(GROUP))
    assert (found["leash_lam"], found["leash_lam_2"]) == (0.1, 0.2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1.1e6])
def test_a_reward_that_is_not_finite_fails_or_is_dropped(bad: float) -> None:
    rewards = torch.tensor([[1.0, bad, 0.0, 1.0]])
    with pytest.raises(NonfiniteReward, match="third.*'q0', completion 1"):
        paying(rewards).rewards(GROUP)
    reward = paying(rewards).rewards(GROUP, "drop")
    assert reward.dropped == 1
    parts = RewardResult(rewards, {"part": rewards})
    assert paying(parts).rewards(GROUP, "drop").parts["part"].isnan().sum() == 1, (
        "an infinite mean for the logs"
    )
    assert reward.total_PG.isnan().tolist() == [[False, True, False, False]]


def test_an_unknown_verdict_is_no_fault() -> None:
    batch = groups([[10, 20, 30]], [[1, math.nan, 0]])
    m = method()
    reward = m.rewards(batch)
    assert reward.dropped == 0
    assert m.advantages(reward, batch)[0, 1] == 0


def test_strategies_can_not_edit_what_they_are_shown() -> None:
    def spoil(rollouts: Rollouts) -> torch.Tensor:
        rollouts.length_PG.zero_()
        rollouts.correct_PG.fill_(1.0)
        rollouts.columns["target"][0][0].append("spoiled")
        return torch.zeros(1, 4)

    batch = groups([[1, 2, 3, 4]], [[1, 0, 1, 0]], columns={"target": (([], [], [], []),)})
    paying(spoil).rewards(batch)
    assert batch.length_PG.tolist() == [[1, 2, 3, 4]]
    assert batch.correct_PG.tolist() == [[1, 0, 1, 0]]
    assert batch.columns["target"][0][0] == []


def test_drpo_needs_log_probs() -> None:
    with pytest.raises(BadInput, match="mean_logp"):
        method(advantage="drpo").advantages(RewardResult(GROUP.correct_PG), GROUP)


MARGIN = {
    "budget": "modes",
    "objective": {"name": "mode_margin", "long_token": 1, "short_token": 2},
}


@pytest.mark.parametrize(
    ("slots", "run_info", "message"),
    [
        ({"reward": "budgeted"}, {}, "gives none"),
        ({"reward": "lcpo_exact"}, {"columns": frozenset()}, "target"),
        ({"truncation": "dot"}, {}, "never fire"),
        ({"budget": "curriculum"}, {"max_length": 180}, "start=256"),
        ({"budget": {"name": "curriculum", "schedule": "linear"}}, {}, "total_steps"),
        ({"budget": "stages"}, {}, "total_steps"),
        ({"budget": "draw"}, {"max_length": 50}, "low=100"),
        ({"reward": "none"}, {}, "pays nothing"),
        (
            MARGIN | {"reward": {"name": "adaptive_thinking", "easy": 0.7}},
            {},
            "objective.easy=0.5 and easy=0.7",
        ),
        (
            MARGIN | {"reward": {"name": "weighted", "parts": [{"name": "adaptive_thinking", "easy": 0.7}]}},
            {},
            "objective.easy=0.5 and easy=0.7 of reward 'adaptive_thinking'",
        ),
    ],
)
def test_what_can_not_work_is_said(slots: dict, run_info: dict, message: str) -> None:
    found = method(**slots).errors(RunInfo(**({"num_generations": 8, "max_length": 4096} | run_info)))
    assert len(found) == 1
    assert message in found[0]


def test_fitting_methods_have_no_errors() -> None:
    run_info = RunInfo(num_generations=8, max_length=4096, max_steps=10, columns=frozenset())
    assert method(budget="curriculum", reward="budgeted").errors(run_info) == []
    assert method(budget="draw", reward="lcpo_exact").errors(run_info) == []
    for reward in ("adaptive_thinking", "correctness"):
        assert method(**MARGIN, reward=reward).errors(run_info) == []


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"reward": "grpo_lambda"}, "no leverage"),
        ({"reward": {"name": "budgeted", "w_length": 0.7}}, "beats a short correct one"),
        ({"reward": {"name": "budgeted", "shape": "band"}}, "empty completion"),
        ({"reward": "length_penalty"}, "failing fast"),
        ({"reward": {"name": "weighted", "parts": [{"name": "length_penalty"}]}}, "failing fast"),
        ({"advantage": {"name": "gfpo", "keep": 8}}, "keeps every one"),
        ({"objective": "kl_cov"}, "inert"),
        ({"reward": "laser"}, "no length is penalised"),
        ({"reward": "weighted", "advantage": "decoupled"}, "weights [0.5, 1.0] cancel"),
    ],
)
def test_what_does_less_than_expected_is_warned_of(slots: dict, message: str) -> None:
    run_info = RunInfo(num_generations=8, max_length=2048)
    assert any(message in warning for warning in method(**slots).warnings(run_info))


def test_an_effort_ratchets_only_where_less_than_the_usual_is_asked_for() -> None:
    run_info = RunInfo(num_generations=8, max_length=4096)
    for high, warned in ((1.79, True), (1.8, False)):
        budget = {"name": "effort", "low": 0.2, "high": high}
        warnings = method(budget=budget, reward="effort").warnings(run_info)
        assert any("reference=first" in warning for warning in warnings) == warned


def test_dr_grpo_keeps_the_leverage() -> None:
    run_info = RunInfo(num_generations=8, max_length=4096)
    assert method(reward="grpo_lambda", advantage="dr_grpo").warnings(run_info) == []


def test_diagnostics_of_the_worked_group() -> None:
    m = method(reward="kimi")
    reward = m.rewards(GROUP)
    found = diagnose(m, reward, m.advantages(reward, GROUP), GROUP)
    assert found["accuracy"] == 0.75
    assert found["correct_pushed_down"] == pytest.approx(1 / 3)
    assert found["groups_with_signal"] == 1
    assert found["tokens_mean"] == 2500
    assert found["reward_correct"] == 0.75
    assert found["penalty_leverage"] > 0.1


@pytest.mark.parametrize(
    ("slots", "fields", "expected"),
    [
        ({"reward": "grpo_lambda"}, {}, {"selected_share": 1 / 2, "selected_accuracy": 3 / 4}),
        ({"advantage": {"name": "gfpo", "keep": 2}}, {}, {"kept_correct_share": 3 / 4}),
        ({"advantage": "drpo"}, {}, {"mixed_share": 1.0}),
        (
            {"reward": {"name": "laser_d", "refresh": 1, "low": 100, "step": 100}},
            {},
            {"target_easy": 200, "target_medium": 400, "target_hard": 4096},
        ),
        (
            {"budget": "curriculum"},
            {"budget_PG": [[250.0] * 4] * 2, "truncated_PG": [[False] * 4, [True] + [False] * 3]},
            {"budget_mean": 250, "budget_within_share": 3 / 8},
        ),
        (
            {"truncation": "dot"},
            {"sampled_length_PG": [[100, 200, 300, 400], [100, 200, 300, 900]]}
            | {"sampled_correct_PG": [[1.0, 1, 1, 1], [1, 0, 1, 0]]},
            {"cut_completions": 1, "cut_tokens": 500, "cut_broken_share": 0.0, "eligible_share": 1 / 2},
        ),
    ],
)
def test_figures_of_methods(slots: dict, fields: dict, expected: dict) -> None:
    batch = groups([[100, 200, 300, 400]] * 2, [[1, 1, 0, 1], [1, 0, 1, 0]], **fields)
    m = method(**slots)
    reward = RewardResult(batch.correct_PG)
    m.observe(batch, reward)
    found = m.metrics(batch, reward)
    assert len(found) == len(expected)
    for name, value in expected.items():
        (key,) = [key for key in found if key.endswith(name)]
        assert found[key] == pytest.approx(value), key


def test_leverage_is_the_change_when_lengths_are_levelled() -> None:
    m = method(reward="length_penalty")
    batch = groups([[100, 300, 200], [50, 50, 50]], [[1, 0, 1], [1, 0, 0]])
    a = m.advantages(m.rewards(batch), batch)
    level = batch.with_(length_PG=torch.tensor([[200] * 3, [50] * 3]))
    expected = (a - m.advantages(m.rewards(level), level)).abs().mean()
    found = penalty(m, batch)
    assert found["penalty_leverage"] == pytest.approx(expected.item()) and found["penalty_idle"] == 0.5
    found = penalty(method(), batch)
    assert found["penalty_leverage"] == 0 and found["penalty_idle"] is None


def penalty(m, batch):
    reward = m.rewards(batch)
    return penalty_figures(m, m.advantages(reward, batch), reward, batch)


def test_a_penalty_is_idle_where_its_lengths_are_none_that_it_sees() -> None:
    batch = groups([[100, 300, 200], [50, 60, 70]], [[1, 1, 0], [0, 0, 0]])
    assert penalty(method(reward={"name": "laser", "target": 2000}), batch)["penalty_idle"] == 1, (
        "all in reach"
    )
    assert penalty(method(reward={"name": "laser", "target": 150}), batch)["penalty_idle"] == 0
    assert penalty(method(reward="kimi"), batch)["penalty_idle"] == 0


def test_length_and_correctness_are_correlated_within_groups() -> None:
    """Of four groups one has no variance of verdicts, one none of lengths; unknown verdicts are out."""
    batch = groups(
        [[100, 200, 300, 400], [100, 200, 300, 900], [50, 60, 70, 80], [7, 7, 7, 7]],
        [[1, 1, 0, 0], [0, 1, 1, math.nan], [1, 1, 1, 1], [1, 0, 0, 1]],
    )
    found = length_accuracy(batch)
    expected = (-0.8944271909999159 + 0.8660254037844387) / 2  # numpy.corrcoef of the first two
    assert found["length_accuracy_corr"] == pytest.approx(expected)
    assert found["length_accuracy_left_out"] == 0.5
    assert length_accuracy(groups([[5, 6]], [[1, 1]]))["length_accuracy_corr"] is None


@pytest.mark.parametrize(
    ("reward", "lengths", "verdicts", "applied", "wiped"),
    [
        ("correctness", [100, 300, 200], [1, 1, 0], 0, 0),
        # 1, 0, 0: the long right one is paid as the wrong one is, and would not be at 200 tokens
        ({"name": "dler", "cap": 250}, [100, 300, 200], [1, 1, 0], 1 / 3, 1 / 2),
        # all right ones over the cap, the group's mean too: at one token they would be paid
        ({"name": "dler", "cap": 50}, [100, 300, 200], [1, 1, 0], 2 / 3, 1),
        ({"name": "dler", "cap": 50}, [100, 300, 200], [1, 1, 1], 1, 0),  # no wrong one to be held against
        ("kimi", [100, 300, 200], [1, 1, 0], 1 / 3, 0),  # right ones alone lose, and stay above the wrong one
    ],
)
def test_what_a_penalty_takes_and_from_whom(reward, lengths, verdicts, applied, wiped) -> None:
    found = penalty(method(reward=reward), groups([lengths], [verdicts]))
    assert found["penalty_applied_share"] == pytest.approx(applied)
    assert found["correct_wiped_share"] == pytest.approx(wiped)
    unknown = penalty(method(reward=reward), groups([lengths], [[math.nan] * len(lengths)]))
    assert unknown["correct_wiped_share"] is None


def test_parts_that_cancel_are_seen_where_nothing_else_moves() -> None:
    batch = groups([[10, 20], [10, 20], [30, 30]], [[1, 0], [1, 0], [1, 1]])
    m, part_PG = method(), torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    against_PG = torch.tensor([[-1.0, 0.0], [-0.5, 0.0], [-1.0, -1.0]], dtype=torch.float64)
    reward = RewardResult(part_PG + against_PG, {"one": part_PG, "other": against_PG})
    assert diagnose(m, reward, m.advantages(reward, batch), batch)["parts_cancel"] == pytest.approx(1 / 3)
    thirds_PG, tenth_PG = 3 * (part_PG * 0.7 / 3), -0.1 * (part_PG * 7)  # their sum is 1e-16, not 0
    rounded = RewardResult(0.3 + thirds_PG + tenth_PG, {"one": thirds_PG, "other": tenth_PG})
    assert rounded.total_PG[0, 0] != rounded.total_PG[0, 1]
    figures = diagnose(m, rounded, m.advantages(rounded, batch), batch)
    assert figures["parts_cancel"] == pytest.approx(2 / 3) and figures["groups_with_signal"] == 0
    unknown = RewardResult(part_PG + against_PG, {**reward.parts, "unknown": part_PG * math.nan})
    assert diagnose(m, unknown, m.advantages(unknown, batch), batch)["parts_cancel"] == pytest.approx(1 / 3)
    alone = RewardResult(part_PG, {"one": part_PG})
    assert diagnose(m, alone, m.advantages(alone, batch), batch)["parts_cancel"] is None


def test_scoring_is_cheap() -> None:
    size = (128, 16)
    batch = groups(torch.randint(1, 4096, size).tolist(), torch.randint(0, 2, size).tolist())
    m = method(reward="grpo_lambda", truncation="dot")
    start = time.process_time()
    for _ in range(5):
        kept = m.truncate(batch)
        now = batch.with_(length_PG=kept)
        reward = m.rewards(now)
        diagnose(m, reward, m.advantages(reward, now), now)
    assert (time.process_time() - start) / 5 < 0.25  # seconds; a step takes many
