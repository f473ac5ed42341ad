"""Every option does what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lenrl.errors import BadInput, RunFailed
from lenrl.rollouts import RewardResult
from lenrl.strategies import registry
from lenrl.strategies.advantages.batch_whitened import BatchWhitened
from lenrl.strategies.advantages.decoupled import Decoupled
from lenrl.strategies.advantages.gfpo import Gfpo
from lenrl.strategies.base import MicroBatch, RunInfo, StepTotals
from lenrl.strategies.budgets.column import Column
from lenrl.strategies.budgets.curriculum import Curriculum
from lenrl.strategies.budgets.draw import Draw
from lenrl.strategies.budgets.levels import Levels
from lenrl.strategies.budgets.palu import Palu
from lenrl.strategies.budgets.stages import Stages
from lenrl.strategies.examples import GROUP, groups, show
from lenrl.strategies.objectives.kl_cov import KlCov
from lenrl.strategies.prompt_rates import PromptRates
from lenrl.strategies.rewards.budgeted import Budgeted
from lenrl.strategies.rewards.dler import Dler
from lenrl.strategies.rewards.lcpo_max import LcpoMax
from lenrl.strategies.rewards.range import Range
from lenrl.strategies.rewards.surrogate import Surrogate
from lenrl.strategies.sampling.drop_flat import DropFlat
from lenrl.strategies.sampling.easy_first import EasyFirst
from lenrl.strategies.sampling.pass_rate_band import PassRateBand
from lenrl.strategies.sampling.predictive import Predictive
from lenrl.strategies.truncation.dot import Dot

RUN_INFO = RunInfo(num_generations=2, max_length=1000, max_steps=30)
BUDGETED = groups([[100, 150, 50, 300]], [[1, 0, 0, 1]], budget_PG=[[100.0] * 4])


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({}, [0.3, 0.15, 0.15, 0.0]),
        ({"shape": "band"}, [0.3, 0.15, 0.3, 0.0]),
        ({"gated": True}, [0.3, 0.0, 0.0, 0.0]),
        ({"w_length": 0.6}, [0.6, 0.3, 0.3, 0.0]),
    ],
)
def test_budgeted_length(options: dict, length: list[float]) -> None:
    assert show(Budgeted(**options)(BUDGETED).parts["length"]) == [length]


def test_budgeted_truncated_and_format() -> None:
    batch = BUDGETED.with_(
        truncated_PG=torch.tensor([[True, False, False, False]]),
        think_tags_PG=torch.tensor([[True, False, True, False]]),
        answer_tags_PG=torch.tensor([[True, True, False, False]]),
    )
    parts = Budgeted().__call__(batch).parts
    assert show(parts["length"]) == [[0.0, 0.15, 0.15, 0.0]]
    assert show(parts["format"]) == [[0.1, 0.05, 0.05, 0.0]]
    assert show(parts["correct"]) == [[0.6, 0.0, 0.0, 0.6]]


def test_budgeted_without_a_budget_is_refused() -> None:
    with pytest.raises(BadInput, match="have none"):
        Budgeted()(GROUP)


@pytest.mark.parametrize(
    ("options", "rewards"),
    [
        ({"horizon": 4000}, [0.5 + 0.75, 1.5, 0.0, -1.0]),
        ({"horizon": 4000, "shape": "polyline"}, [1.0, 1.5, 0.0, -1.0]),
        ({"horizon": 4000, "peak": 0.25, "w_format": 1}, [2.0, 2 - 2 / 9, 0.0, -1.0]),
        ({"horizon": 2000}, [1.5, -0.5, -1.0, -1.0]),
    ],
)
def test_surrogate(options: dict, rewards: list[float]) -> None:
    batch = GROUP.with_(formatted_PG=torch.tensor([[True, True, False, False]]))
    paid = Surrogate(**options)(batch)[0].tolist()
    if options.get("peak"):
        rewards[2] = 1 - 2 * (2 / 3) ** 2 if 1 - 2 * (2 / 3) ** 2 < 0 else 0.0
    assert paid[:2] == pytest.approx(rewards[:2])
    assert paid[2:] == pytest.approx([min(0.0, r) for r in rewards[2:]])


def test_surrogate_pays_a_thinking_block_of_readable_answers() -> None:
    batch = GROUP.with_(
        formatted_PG=torch.tensor([[True, True, False, False]]),
        think_tags_PG=torch.tensor([[True, False, True, False]]),
    )
    more = Surrogate(w_think=0.5)(batch) - Surrogate()(batch)
    assert show(more) == [[0.5, 0.0, 0.0, 0.0]]


def test_batch_whitened_bonus_goes_to_right_rows_of_groups_with_signal() -> None:
    batch = groups([[100, 200], [100, 200]], [[1, 0], [1, 1]])
    reward = RewardResult(batch.correct_PG)
    for over in ("rows", "tokens"):
        plain, paid = (BatchWhitened(over=over, bonus=bonus)(reward, batch) for bonus in (0.0, 0.1))
        assert show(paid - plain) == [[0.1, 0.0], [0.0, 0.0]]


def test_drop_flat_by_verdict_keeps_groups_whose_rewards_are_equal() -> None:
    batch = groups([[100, 200], [100, 200]], [[1, 0], [1, 1]], truncated_PG=[[True, False], [True, False]])
    reward = RewardResult(Dler()(batch))  # 0, 0 and 0, 1
    assert DropFlat().signal(batch, reward).tolist() == [False, True]
    assert DropFlat(by="verdict").signal(batch, reward).tolist() == [True, False]


def test_verdicts_are_needed_where_an_option_reads_them() -> None:
    assert not BatchWhitened().reads_verdicts and not DropFlat().reads_verdicts
    assert BatchWhitened(over="tokens").reads_verdicts and BatchWhitened(bonus=0.1).reads_verdicts
    assert DropFlat(by="verdict").reads_verdicts


def test_gfpo_ranks_by_efficiency() -> None:
    batch = groups([[100, 200, 300, 400]], [[0, 1, 1, 1]])
    reward = RewardResult(torch.tensor([[0.0, 1.0, 3.0, 1.0]]).double())  # r / L: 0, .005, .01, .0025
    kept = {rank: Gfpo(keep=2, rank=rank)(reward, batch)[0] for rank in ("length", "efficiency")}
    assert kept["length"].nonzero().flatten().tolist() == [0, 1]
    assert kept["efficiency"].nonzero().flatten().tolist() == [1, 2]


def test_gfpo_ties_go_by_batch_order() -> None:
    batch = groups([[100, 100, 100]], [[1, 0, 1]])
    assert Gfpo(keep=2)(RewardResult(batch.correct_PG), batch)[0, 2] == 0


def test_decoupled_leaves_a_missing_part_out() -> None:
    part = torch.tensor([[float("nan"), 1.0, 0.0, 1.0]]).double()
    pushed = Decoupled()(RewardResult(GROUP.correct_PG, {"a": part, "b": GROUP.correct_PG}), GROUP)
    alone = Decoupled()(RewardResult(GROUP.correct_PG, {"b": GROUP.correct_PG}), GROUP)
    assert pushed[0, 0] == alone[0, 0] / 2


def test_range_at_the_edges() -> None:
    fields = {"lo": ((1000,) * 4,), "hi": ((4096,) * 4,)}
    batch = groups([[500, 1000, 4096, 5000]], [[float("nan")] * 4], columns=fields)
    reward = Range()(batch)
    assert list(reward.parts) == ["range"]
    assert show(reward.total_PG) == [[0.5, 1.0, 1.0, 0.0]]
    with pytest.raises(BadInput, match="hi=10 is below lo=1000"):
        Range()(batch.with_(columns=fields | {"hi": ((10,) * 4,)}))


@pytest.mark.parametrize("target", [0, -5, None])
def test_a_target_must_be_above_0(target: int | None) -> None:
    with pytest.raises(BadInput, match=r"'target' is .*completion 2"):
        LcpoMax()(GROUP.with_(columns={"target": ((100, 100, target, 100),)}))


def test_stages_are_capped_at_the_longest_completion() -> None:
    rule = Stages(caps=(4000, 500, 100))
    given = [rule(["q"], [{}], step, RUN_INFO)[0] for step in (0, 9, 10, 29)]
    assert [a.cap for a in given] == [1000, 1000, 500, 100]
    assert given[3].system == "The output must not exceed 100 tokens."
    assert Stages(caps=(100,), hint=False)(["q"], [{}], 0, RUN_INFO)[0].system is None
    assert "4000" in rule.warnings(RUN_INFO)[0]


def test_hints_are_templates_and_nothing_more() -> None:
    rule = Curriculum(hint="{budget} of {budget.__class__}", eval_hint=True, start=100, end=50)
    assert rule(["q"], [{}], 0, RUN_INFO)[0].hint == "100 of {budget.__class__}"
    assert rule.evaluation(["q"], [{}], 0, RUN_INFO)[0].hint == "Use at most 100 tokens of reasoning."
    assert Curriculum().evaluation(["q"], [{}], 0, RUN_INFO)[0].hint is None
    assert Curriculum(hint=False)(["q"], [{}], 0, RUN_INFO)[0].hint is None
    assert Curriculum()(["q"], [{}], 150, RUN_INFO)[0].hint == "Use at most 179 tokens of reasoning."


def test_draws_depend_on_seed_prompt_and_step_alone() -> None:
    def targets(rule: Draw, step: int) -> list[int]:
        prompts = [f"q{i}" for i in range(300)]
        return [a.columns["target"] for a in rule(prompts, [{}] * 300, step, RUN_INFO)]

    first = targets(Draw(), 0)
    assert first == targets(Draw(), 0)
    assert first != targets(Draw(), 1)
    assert first != targets(Draw(seed=1), 0)
    assert min(first) >= 100
    assert max(first) <= 1000
    assert min(first) < 150
    assert max(first) > 950
    levels = {a.columns["level"] for a in Levels()([f"q{i}" for i in range(50)], [{}] * 50, 0, RUN_INFO)}
    assert levels == {"short", "moderate", "long"}


@pytest.mark.parametrize("row", [{}, {"tokens": 0}, {"tokens": "9"}, {"tokens": True}])
def test_a_column_without_a_budget_is_refused(row: dict) -> None:
    with pytest.raises(BadInput, match="'tokens'"):
        Column(field="tokens")(["q"], [row], 0, RUN_INFO)


def test_dot_threshold_lets_groups_with_failures_be_cut() -> None:
    batch = groups([[1000] * 31 + [4000]], [[0] + [1] * 31])
    assert Dot(success_threshold=0.9)(batch)[0, 31] == 2684


def test_predictive_keeps_its_window() -> None:
    rule = Predictive(window=2)
    mixed, flat = groups([[1, 2]], [[1, 0]]), groups([[1, 2]], [[1, 1]])
    for batch in (flat, mixed, mixed):
        rule.observe(batch, RewardResult(batch.correct_PG))
    assert rule.state_dict() == {"history": [1.0, 1.0]}
    assert rule.factor() == 1.2


def test_kl_cov_of_the_step_takes_the_top_of_all_micro_batches() -> None:
    logp = -torch.arange(1.0, 9.0).reshape(2, 4).double()
    mask = torch.ones(2, 4, dtype=torch.bool)
    whole = MicroBatch(logp, logp - 0.1, mask, torch.tensor([1.0, -1.0]).double())
    halves = [
        MicroBatch(logp[i : i + 1], logp[i : i + 1] - 0.1, mask[:1], whole.advantage_N[i : i + 1])
        for i in (0, 1)
    ]
    rule = KlCov(scope="optimizer_step", ratio=0.25)  # 2 of 8: the extremes, |logp - mean| = 3.5
    extra = rule.survey(halves, lambda x: x)
    assert extra == {"logp_mean": -4.5, "advantage_mean": 0.0, "threshold": 3.5}
    totals = StepTotals(rows=2, tokens=8, kl_tokens=0, processes=1, extra=extra)
    assert [rule(half, totals)[1]["kl_cov_share"] for half in halves] == [0.25, 0.25]
    assert rule.surveys == "tokens"
    assert KlCov().surveys == "nothing"


def test_budgets_that_would_do_nothing_say_so():
    curriculum = Curriculum()
    assert "never tightens" in curriculum.warnings(replace(RUN_INFO, max_steps=60))[0]
    assert not curriculum.warnings(replace(RUN_INFO, max_steps=600))
    palu = Palu(tau=0.2)
    assert "inert" in palu.warnings(replace(RUN_INFO, visits=0.24))[0]
    assert not palu.warnings(replace(RUN_INFO, visits=3.0)) and not palu.warnings(RUN_INFO)


def seen(rule: PromptRates, *verdicts: tuple[str, list[int]]) -> None:
    """Groups of these prompts with these verdicts."""
    batch = groups([[10] * len(right) for _, right in verdicts], [right for _, right in verdicts])
    batch = batch.with_(prompt_ids=tuple(prompt for prompt, _ in verdicts))
    rule.observe(batch, RewardResult(batch.correct_PG))


ABC = (["a", "b", "c", "d"], [{}] * 4)


def test_a_band_leaves_out_what_is_solved_or_hopeless_until_it_is_looked_at_again() -> None:
    rule = PassRateBand(revisit=0)
    seen(rule, ("a", [1, 1]), ("b", [0, 0]), ("c", [1, 0]))
    assert rule.state_dict() == {"rates": {"a": 1.0, "b": 0.0, "c": 0.5}}
    assert rule.choose(*ABC, 1) == ["c", "d"]
    seen(rule, ("a", [1, 0]))
    assert rule.choose(*ABC, 1) == ["a", "c", "d"], "0.75 after a memory of 0.5"
    assert PassRateBand(revisit=0, memory=0).choose(*ABC, 0) == ABC[0]
    again = PassRateBand(revisit=3, seed=1)
    again.load_state_dict({"rates": {"a": 1.0}})
    back = ["a" in again.choose(*ABC, turn) for turn in range(300)]
    assert 70 < sum(back) < 130
    assert back == ["a" in again.choose(*ABC, turn) for turn in range(300)]


def test_a_band_goes_by_the_data_s_pass_rate_before_the_first_visit() -> None:
    rule = PassRateBand(column="rate", revisit=0)
    rows = [{"rate": rate} for rate in (1.0, 0.5, 0.0, None)]
    assert rule.reads_columns == ("rate",)
    assert rule.choose(ABC[0], rows, 0) == ["b", "d"]
    seen(rule, ("a", [1, 0]), ("b", [1, 1]))
    assert rule.choose(ABC[0], rows, 0) == ["a", "d"]
    with pytest.raises(BadInput, match="'a' is 7, must be a pass rate from 0 to 1"):
        PassRateBand(column="rate").choose(["a"], [{"rate": 7}], 0)


def test_a_band_without_a_prompt_ends_the_run_with_the_rates() -> None:
    rule = PassRateBand(revisit=0)
    seen(rule, *((name, [1, 1]) for name in "abcd"))
    with pytest.raises(RunFailed, match="all 4 prompts are outside, from 1 to 1, and pass 2"):
        rule.choose(*ABC, 1)
    assert PassRateBand(revisit=1, low=0.5, high=0.5).choose(*ABC, 1) == ABC[0]
    with pytest.raises(BadInput, match="high=0.2 is below low=0.5"):
        registry.build("sampling", {"name": "pass_rate_band", "low": 0.5, "high": 0.2})


def test_easy_first_orders_by_pass_rate_or_by_a_difficulty() -> None:
    rule = EasyFirst()
    seen(rule, ("a", [0, 0]), ("b", [1, 1]), ("c", [1, 0]))
    assert rule.choose(*ABC, 1) == ["b", "c", "d", "a"]
    assert rule.choose(["d", "c"], [{}] * 2, 1) == ["d", "c"], "ties stay in the pass's order"
    levels = [{"level": level} for level in (3, 1, 2, 1)]
    assert EasyFirst(column="level").choose(ABC[0], levels, 0) == ["b", "d", "c", "a"]
    assert EasyFirst(column="level", passes=1).choose(ABC[0], levels, 1) == ABC[0]
    with pytest.raises(BadInput, match="'a' is 'hard', must be a number"):
        EasyFirst(column="level").choose(["a"], [{"level": "hard"}], 0)


def test_rules_that_choose_prompts_keep_all_groups_unless_told_otherwise() -> None:
    signal = torch.tensor([True, False, True])
    assert not EasyFirst().selects and EasyFirst().keep(signal, 3).tolist() == [0, 1, 2]
    assert EasyFirst(drop_flat=True).selects
    assert EasyFirst(drop_flat=True).keep(signal, 3).tolist() == [0, 2]
    once = RunInfo(4, 100, visits=1.0)
    assert "inert" in EasyFirst().warnings(once)[0] and not EasyFirst(column="level").warnings(once)
