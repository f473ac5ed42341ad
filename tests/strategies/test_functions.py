"""Reward functions: what they are given, what they may return, and how their parts add up."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest
import torch

from lenrl.errors import BadInput, PluginFailed
from lenrl.rollouts import RewardResult
from lenrl.strategies.base import NonfiniteReward, RunInfo
from lenrl.strategies.examples import GROUP
from lenrl.strategies.functions import FunctionInputs, RewardFunction, call
from tests.strategies.test_method import method

CHAT = [[{"role": "user", "content": "1+1?"}]] * 2


def inputs(**changes) -> FunctionInputs:
    given = {
        "prompts": ["1+1?", "1+1?"],
        "texts": ["two", "three!"],
        "completion_ids": [[1, 2], [3]],
        "columns": [{"answer": "2", "unit": "m"}, {"answer": "2"}],
    }
    return FunctionInputs(**{**given, **changes})


def said(function, **changes):
    return call([RewardFunction("mine", function)], inputs(**changes))["mine"]


def test_a_function_gets_completions_ids_prompts_and_columns_by_name():
    seen = {}

    def everything(completions, **columns):
        seen.update(columns, completions=completions)
        return [len(text) for text in completions]

    assert said(everything, trainer_state="state") == [3.0, 6.0]
    assert seen["completions"] == ["two", "three!"]
    assert seen["prompts"] == ["1+1?", "1+1?"]
    assert seen["completion_ids"] == [[1, 2], [3]]
    assert seen["answer"] == ["2", "2"]
    assert seen["unit"] == ["m", None]
    assert seen["trainer_state"] == "state"


def test_completions_are_conversational_where_the_prompts_are():
    assert said(lambda completions, **_: [c[0]["content"] == "two" for c in completions], prompts=CHAT) == [
        1,
        0,
    ]


def test_a_signature_without_keywords_gets_what_it_names():
    assert said(lambda completions, answer: [float(a) for a in answer]) == [2.0, 2.0]
    function = RewardFunction("mine", lambda completions, answer, solution, unit="m": None)
    assert function.reads_columns == ("answer", "solution")


def test_async_functions_run_side_by_side():
    all_wait = asyncio.Barrier(5)

    async def slow(completions, **_):
        await asyncio.wait_for(all_wait.wait(), 30)
        return [1.0 for _ in completions]

    functions = [RewardFunction(name, slow) for name in "abcde"]
    assert call(functions, inputs()) == {name: [1.0, 1.0] for name in "abcde"}


def test_async_functions_are_waited_for_where_an_event_loop_runs_as_in_a_notebook():
    async def cell():
        return call([RewardFunction("late", late), RewardFunction("raising", raising_later)], inputs())

    async def late(completions):
        return [2.0, 3.0]

    async def other_cell():
        return call([RewardFunction("late", late)], inputs())

    assert asyncio.run(other_cell()) == {"late": [2.0, 3.0]}
    with pytest.raises(PluginFailed, match="no such scale"):
        asyncio.run(cell())


def test_none_is_kept_and_numbers_of_other_types_are_taken():
    assert said(lambda completions: [None, True]) == [None, 1.0]
    assert said(lambda completions: torch.tensor([0.5, 2.0])) == [0.5, 2.0]


def raising(completions):
    raise ValueError("no such scale")


async def raising_later(completions):
    raise ValueError("no such scale")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda completions: [1.0], "1 values for 2 completions"),
        (lambda completions: 3, "returned 3: it must return a list"),
        (lambda completions: ["1", "2"], "'1' for completion 0: must be a number, or None"),
        (lambda completions: [1.0, [2.0]], r"\[2.0\] for completion 1"),
        (raising, "ValueError: no such scale"),
        (raising_later, "ValueError: no such scale"),
    ],
)
def test_a_faulty_function_is_named_with_file_and_line(function, message):
    with pytest.raises(PluginFailed, match=message) as fault:
        said(function)
    assert "reward function 'mine'" in str(fault.value)
    assert f"{__file__}, line " in str(fault.value)


def test_a_line_of_the_message_is_the_one_that_raised():
    with pytest.raises(PluginFailed) as fault:
        said(raising)
    assert f"line {raising.__code__.co_firstlineno + 1})" in str(fault.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2e6, 10**400])
def test_a_value_that_no_reward_can_have_fails_or_is_dropped(value):
    functions = [RewardFunction("mine", lambda completions: [value, 1.0])]
    with pytest.raises(NonfiniteReward, match="mine.*completion 0.*guard.nonfinite=drop"):
        call(functions, inputs())
    assert call(functions, inputs(), "drop") == {"mine": [math.inf, 1.0]}


@pytest.mark.parametrize("value", [0.5, 2, -1, 10**400])
def test_a_verdict_is_zero_one_or_none(value):
    judge = RewardFunction("judge", lambda completions: [value, None], verdict=True)
    with pytest.raises(PluginFailed, match="taken as the verdict.*without verdict=true"):
        call([judge], inputs())
    judge = RewardFunction("judge", lambda completions: [True, None], verdict=True)
    assert call([judge], inputs()) == {"judge": [1.0, None]}


def part(name="brief", weight=0.5, **options):
    return RewardFunction(name, lambda completions: [0.0 for _ in completions], weight, **options)


def given(*values, name="brief"):
    return replace(GROUP, parts={name: torch.tensor([values], dtype=torch.float64)})


def test_parts_are_added_to_the_method_s_reward_by_weight_and_none_adds_nothing():
    adds = replace(method(), functions=(part(),))
    result = adds.rewards(given(1.0, 2.0, 4.0, math.nan))
    assert result.total_PG.tolist() == [[1.5, 2.0, 2.0, 1.0]]
    assert {name: p.tolist() for name, p in result.parts.items()} == {
        "correctness": [[1.0, 1.0, 0.0, 1.0]],
        "brief": [[0.5, 1.0, 2.0, 0.0]],
    }


def test_a_row_that_a_function_spoils_is_dropped_and_counted():
    adds = replace(method(), functions=(part(),))
    result = adds.rewards(given(1.0, math.inf, 0.0, 0.0), "drop")
    assert result.dropped == 1
    assert result.total_PG.isnan().tolist() == [[False, True, False, False]]
    with pytest.raises(NonfiniteReward):
        adds.rewards(given(1.0, math.inf, 0.0, 0.0))


def test_parts_alone_are_the_reward_where_the_method_has_none():
    alone = replace(method(reward="none"), functions=(part(weight=2.0),))
    assert not alone.needs_gold
    assert alone.rewards(given(1.0, 2.0, 0.0, 0.5)).total_PG.tolist() == [[2.0, 4.0, 0.0, 1.0]]


@pytest.mark.parametrize("reward", ["correctness", "none"])
def test_what_adds_nothing_is_no_part_and_shrinks_no_decoupled_advantage(reward):
    rule = method(reward=reward, advantage="decoupled")
    alone = replace(rule, functions=(part("other"),))
    beside = replace(rule, functions=(part("other"), part(weight=0.0)))
    batch = GROUP.with_(parts={name: torch.tensor([[1.0, 2.0, 4.0, 3.0]]) for name in ("other", "brief")})
    assert list(beside.rewards(batch).parts) == (["other"] if reward == "none" else [reward, "other"])
    pushed = beside.advantages(beside.rewards(batch), batch)
    assert torch.equal(pushed, alone.advantages(alone.rewards(batch), batch))
    if reward == "none":
        assert torch.allclose(
            pushed, method().advantages(RewardResult(batch.parts["other"]), batch), atol=1e-3
        )
    [warning] = beside.warnings(RunInfo(num_generations=4, max_length=100))
    assert "of the weights {'other': 0.5} of reward functions only the signs count" in warning


def test_a_weight_of_zero_in_a_sum_is_no_part():
    parts = [{"name": "correctness"}, {"name": "overlong", "weight": 0}]
    rule = method(reward={"name": "weighted", "parts": parts}, advantage="decoupled")
    assert list(rule.rewards(GROUP).parts) == ["correctness"]
    plain = method(advantage="decoupled")
    assert torch.equal(
        rule.advantages(rule.rewards(GROUP), GROUP), plain.advantages(plain.rewards(GROUP), GROUP)
    )


def test_a_verdict_needs_no_gold_answer_and_is_no_part():
    judged = replace(method(), functions=(part("judge", verdict=True),))
    assert judged.reads_verdicts and not judged.needs_gold
    assert judged.rewards(GROUP).parts == {}


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        (lambda: (part(), part()), "two reward functions are named 'brief'"),
        (lambda: (part("a", verdict=True), part("b", verdict=True)), "one can give the verdict"),
        (lambda: (part(weight=math.inf),), "finite number"),
        (lambda: (RewardFunction("text", "brief"),), "callable"),  # type: ignore[arg-type]
    ],
)
def test_functions_that_do_not_go_together_are_refused(functions, message):
    with pytest.raises(BadInput, match=message):
        replace(method(), functions=functions())


def test_a_function_with_the_name_of_another_part_is_refused():
    adds = replace(method(), functions=(part("correctness"),))
    with pytest.raises(BadInput, match="name of another part"):
        adds.rewards(given(0.0, 0.0, 0.0, 0.0, name="correctness"))


@pytest.mark.parametrize("advantage", [{"name": "ddca"}, {"name": "lead_dynamic", "weight": 0.5}])
def test_a_part_counts_with_correctness_where_length_is_weighed_apart(advantage):
    """One that is the same for all changes nothing; one that undoes the verdicts leaves the lengths to speak."""
    rule = method(reward=advantage["name"], advantage=advantage)
    adds = replace(rule, functions=(part(weight=0.5),))
    plain = rule.advantages(rule.rewards(GROUP), GROUP)
    pushed = {}
    for values in ((0.2, 0.2, 0.2, 0.2), (0.0, 0.0, 0.0, 1.0), (1.0, 1.0, 3.0, 1.0)):
        batch = given(*values)
        pushed[values] = adds.advantages(adds.rewards(batch), batch)
    same, last, undone = pushed.values()
    assert torch.allclose(same, plain, atol=1e-9)
    assert last[0, 3] - last[0, 0] > plain[0, 3] - plain[0, 0]
    assert torch.equal(undone[0].argmax(), plain[0].argmax()) and undone[0, 2] > plain[0, 2]


@pytest.mark.parametrize("name", ["drpo", "crisp"])
def test_a_part_that_an_advantage_would_not_read_is_refused(name):
    info = RunInfo(num_generations=4, max_length=100)
    rule = method(reward="none" if name == "crisp" else "correctness", advantage=name)
    [fault] = replace(rule, functions=(part(),)).errors(info)
    assert f"advantage {name!r} reads only" in fault and "reward_functions.brief.weight=0" in fault
    assert replace(rule, functions=(part(weight=0.0),)).errors(info) == []
    assert not any("shapes no advantage" in warning for warning in rule.warnings(info))
    other = method(reward="kimi", advantage=name)
    assert any(
        "'kimi' pays is logged, and shapes no advantage" in warning for warning in other.warnings(info)
    )


def test_a_column_that_the_data_lack_is_an_error_before_the_run():
    needs = RewardFunction("tests", lambda completions, unit_tests, answer: [])
    info = RunInfo(num_generations=4, max_length=100, columns=frozenset({"level"}))
    [fault] = replace(method(), functions=(needs,)).errors(info)
    assert "'unit_tests'" in fault and "['level']" in fault and __file__ in fault
