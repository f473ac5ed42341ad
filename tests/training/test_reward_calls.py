"""Reward functions in the way of a generation batch: after the cut, beside the verdicts, into the records."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from lenrl.config import compose
from lenrl.errors import PluginFailed
from lenrl.monitors.local import LocalMonitor
from lenrl.strategies.base import Truncation
from lenrl.strategies.functions import RewardFunction
from tests.training.parts import batch_of, ids, scoring
from tests.training.runs import rows_of


class FirstTwo(Truncation):
    """Keeps two tokens."""

    name: ClassVar[str] = "first_two_tokens"

    def __call__(self, rollouts):
        return rollouts.length_PG.clamp(max=2)


def begun(method, tmp_path):
    part = scoring(method, LocalMonitor(tmp_path, is_main=True))
    part.begin([{"prompt_id": n, "prompt": n} for n in ("q0", "q0", "q1", "q1")], step=0, number=0)
    return part


COMPLETIONS = [ids(text) for text in ("a0.", "bb1.", "xyz1.", "0.")]


def test_parts_reach_rewards_records_and_figures(tmp_path):
    def size(completions, completion_ids, answer, log_metric, log_extra, trainer_state):
        assert [len(tokens) for tokens in completion_ids] == [3, 4, 5, 2]
        assert answer == ["0", "0", "1", "1"]
        log_metric("calls", 1 + trainer_state.global_step)
        log_extra("shout", [text.upper() for text in completions])
        return [len(text) for text in completions]

    method = replace(compose("grpo").method, functions=(RewardFunction("size", size, 0.1),))
    part = begun(method, tmp_path)
    rewards = part.score(COMPLETIONS, SimpleNamespace(global_step=4))
    assert rewards.flatten().tolist() == pytest.approx([1.2, 0.3, 1.4, 0.1])
    batch: Any = batch_of(COMPLETIONS)
    part.finish(batch, logps=lambda _: torch.zeros(4, 5))
    figures = part.monitor.state_dict()["rollout"]
    assert figures["reward_size"] == pytest.approx(0.25)
    assert figures["reward_correctness"] == pytest.approx(0.5)
    assert figures["logged_calls"] == 5
    rows = rows_of(tmp_path)
    assert [row["part_size"] for row in rows] == [2, 3, 4, 1]
    assert [row["shout"] for row in rows] == ["A0", "BB1", "XYZ1", "0"]


def test_functions_see_the_completion_as_it_is_kept(tmp_path):
    seen: list[Any] = []

    def note(completions, completion_ids):
        seen.append((list(completions), [len(tokens) for tokens in completion_ids]))
        return [0.0 for _ in completions]

    method = replace(compose("grpo").method, truncation=FirstTwo(), functions=(RewardFunction("note", note),))
    begun(method, tmp_path).score(COMPLETIONS)
    assert seen == [(["a0", "bb", "xy", "0"], [2, 2, 2, 2])]


def test_a_function_s_verdict_takes_the_verifier_s_place_and_is_asked_again_after_a_cut(tmp_path):
    calls = []

    def judge(completions):
        calls.append(list(completions))
        return [None if text.startswith("x") else len(text) > 1 for text in completions]

    method = replace(
        compose("grpo").method,
        truncation=FirstTwo(),
        functions=(RewardFunction("judge", judge, verdict=True),),
    )
    part = begun(method, tmp_path)
    rewards = part.score(COMPLETIONS).flatten()
    assert calls == [["a0", "bb1", "xyz1", "0"], ["a0", "bb", "xy"]]
    assert rewards[[0, 1, 3]].tolist() == [1, 1, 0] and rewards[2].isnan()
    assert [verdict.outcome for verdict in part.current.verdicts] == ["ok", "ok", "abstained", "ok"]


@pytest.mark.parametrize("verdict", [True, False])
def test_a_function_that_raises_ends_the_batch(tmp_path, verdict):
    def broken(completions):
        raise KeyError("scale")

    method = replace(compose("grpo").method, functions=(RewardFunction("broken", broken, verdict=verdict),))
    with pytest.raises(PluginFailed, match=f"'broken' raised KeyError: 'scale'.*{__file__}"):
        begun(method, tmp_path).score(COMPLETIONS)


def test_a_function_that_gives_nothing_but_0_is_warned_of_once_with_what_it_is_given(tmp_path, caplog):
    late = iter([0, 0, 0, 0, 1, *[0] * 20])

    def nothing(completions):
        return [0.0, None, 0.0, 0.0]

    def at_last(completions):
        return [float(next(late)), 0.0, 0.0, 0.0]

    functions = (RewardFunction("nothing", nothing), RewardFunction("at_last", at_last))
    part = scoring(
        replace(compose("grpo").method, functions=functions), LocalMonitor(tmp_path, is_main=True, every=9)
    )
    rows: Any = [{"prompt_id": n, "prompt": n} for n in ("q0", "q0", "q1", "q1")]
    for number in range(7):
        assert ("nothing" in caplog.text) == (number >= 5), "after the fifth rollout"
        part.begin(rows, step=number, number=number)
        part.score(COMPLETIONS)
        assert part.current.scored is not None
        rollouts = part.current.scored.rollouts
        batch: Any = batch_of(COMPLETIONS)
        part.finish(batch, logps=lambda _: torch.zeros(4, 5))
    [said] = [record.getMessage() for record in caplog.records if "given 0 or None" in record.getMessage()]
    assert "reward function 'nothing'" in said and "each of the 20 completions of 5 rollouts" in said
    assert __file__ in said and "completions as text" in said
    part.zeros._completions.clear()
    caplog.clear()
    for _ in range(5):
        part.zeros.watch(rollouts, [{"role": "user", "content": "q0"}])
    assert "completion[0]['content']" in caplog.text
