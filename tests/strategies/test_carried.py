"""What is carried where a strategy reads it, and rewards of tokens: declared, copied, cut, checked."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lenrl.errors import PluginFailed
from lenrl.rollouts import READABLE, NotCarried, RewardResult, Rollouts, StepScore, Verdict
from lenrl.strategies import registry
from lenrl.strategies.advantages.process import Process
from lenrl.strategies.base import Advantage, Budget, PromptBudget, Reward, RunInfo
from lenrl.strategies.columns import step_rewards
from lenrl.strategies.examples import GROUP, groups
from lenrl.strategies.functions import RewardFunction
from lenrl.strategies.method import BadStrategy, Method
from lenrl.strategies.scoring import Row, build_rollouts, carry, cut
from tests.strategies.cases import NEUTRAL

NAN = math.nan
TEXT = groups([[3, 2]], [[1, 0]], carried={"text": (("abc", "de"),), "answer": (("c", None),)})


def method(**slots: Any) -> Method:
    return Method(**{**{slot: registry.build(slot, {"name": n}) for slot, n in NEUTRAL.items()}, **slots})  # type: ignore[arg-type]


class Letters(Reward):
    """Pays the characters of the text."""

    name: ClassVar[str] = "letters"
    reads: ClassVar[Any] = ("text",)

    def __call__(self, rollouts: Rollouts) -> torch.Tensor:
        return torch.tensor([[float(len(text)) for text in group] for group in rollouts.text_PG])


class Silent(Letters):
    """Reads the text without saying so."""

    name: ClassVar[str] = "silent"
    reads: ClassVar[Any] = ("answer",)


def test_a_strategy_gets_what_it_declares_and_nothing_else() -> None:
    assert method(reward=Letters()).reads == ("text",)
    assert method(reward=Letters()).rewards(TEXT).total_PG.tolist() == [[3, 2]]
    with pytest.raises(NotCarried, match=r"no 'text': declare reads = \('text',\)"):
        method(reward=Silent()).rewards(TEXT)


@pytest.mark.parametrize("attribute", ["reads_columns", "declares"])
def test_a_tuple_of_one_that_lacks_its_comma_is_refused(attribute: str) -> None:
    with pytest.raises(TypeError, match=rf"{attribute} = 'target': must be a tuple, such as \('target',\)"):
        type("Odd", (Reward,), {"name": "odd", "__module__": __name__, attribute: "target"})


@pytest.mark.parametrize("reads", ["text", ("txt",)])
def test_a_class_that_reads_what_there_is_not_is_refused(reads: Any) -> None:
    with pytest.raises(TypeError, match="reads = .*must be a tuple of some of .*such as"):
        type("Wrong", (Letters,), {"reads": reads, "name": "wrong", "__module__": __name__})


def test_a_sum_of_rewards_reads_what_its_parts_read(tmp_path: Path) -> None:
    file = tmp_path / "spelled.py"
    file.write_text(
        "from lenrl.strategies.base import Reward\n\n\nclass Spelled(Reward):\n    name = 'spelled'\n"
        "    reads = ('text',)\n\n    def __call__(self, rollouts):\n        return rollouts.correct_PG\n"
    )
    registry.load_plugin(file)
    weighted = registry.build("reward", {"name": "weighted", "parts": [{"name": "spelled"}]})
    assert weighted.reads == ("text",)


def test_log_probs_are_for_advantages_only() -> None:
    class Sure(Letters):
        name: ClassVar[str] = "sure"
        reads: ClassVar[Any] = ("logps",)

    faults = method(reward=Sure()).errors(RunInfo(num_generations=2, max_length=9))
    assert len(faults) == 1 and "'logps'" in faults[0]
    assert method(reward=Sure()).needs_logp


def test_a_budget_sees_prompt_and_gold_where_it_says_so() -> None:
    class Asks(Budget):
        name: ClassVar[str] = "asks"
        reads: ClassVar[Any] = ("prompt",)

        def __call__(self, prompt_ids, columns, step, run_info):
            return [PromptBudget(budget=float(len(row["prompt"]))) for row in columns]

    assert Asks().visible({"a": 1}, prompt="one", gold="2") == {"a": 1, "prompt": "one"}
    none = method().budget
    assert none.visible({"a": 1}, prompt="one", gold="2") == {"a": 1}


# --- the kept part -------------------------------------------------------------------------------------------


def row(text: str, reads: Any = READABLE) -> Row:
    """A completion of a token a character, a step a space."""
    steps = tuple(StepScore(float(i), i + 1) for i, c in enumerate(text) if c == " ")
    return Row(
        prompt_id="q",
        length=len(text),
        truncated=False,
        verdict=Verdict(text.endswith("."), text[-1:]),
        prompt_budget=PromptBudget(),
        columns={},
        carried=carry(
            reads,
            prompt=lambda: "ask",
            gold=lambda: None,
            text=lambda: text,
            token_ids=lambda: tuple(map(ord, text)),
            answer=lambda: text[-1:],
            steps=lambda: steps,
            logps=lambda: [-float(i) for i in range(len(text))],
        ),
    )


TEXTS = st.lists(st.text(alphabet="ab .", max_size=9), min_size=2, max_size=6).filter(
    lambda x: len(x) % 2 == 0
)


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, data=st.data())
def test_what_is_carried_is_that_of_the_kept_part(texts: list[str], data: st.DataObject) -> None:
    rows = [row(text) for text in texts]
    whole = build_rollouts(rows, 2, 9, 0)
    kept = [data.draw(st.integers(0, len(text))) for text in texts]
    after = cut(
        whole,
        torch.tensor(kept).reshape(-1, 2),
        lambda cuts: [row(texts[i][:tokens]) for i, tokens in cuts.items()],
        caps=False,
    )
    left = [text[:tokens] for text, tokens in zip(texts, kept, strict=True)]
    flat = {name: [v for group in after.carried[name] for v in group] for name in READABLE[1:4]}
    assert flat["text"] == left
    assert flat["token_ids"] == [tuple(map(ord, text)) for text in left]
    assert flat["answer"] == [text[-1:] for text in left]
    assert after.prompt_P == ("ask",) * after.P and after.gold_P == (None,) * after.P
    assert [[step.end for step in steps] for group in after.steps_PG for steps in group] == [
        [i + 1 for i, c in enumerate(text) if c == " "] for text in left
    ]
    known = ~after.logp_PGT.isnan()
    assert torch.equal(known.sum(dim=2), after.length_PG)
    assert torch.equal(after.logp_PGT.nansum(dim=2), -(after.tokens_PG * (after.tokens_PG - 1) / 2).float())


def test_nothing_is_made_that_nobody_reads() -> None:
    def never() -> None:
        raise AssertionError("made")

    assert carry(("text",), text=lambda: "a", token_ids=never) == {"text": "a"}
    assert build_rollouts([row("a", ()), row("b", ())], 2, 9, 0).carried == {}


# --- rewards of tokens ---------------------------------------------------------------------------------------


def rewarding(tokens: Any, total: Any = None) -> Method:
    class Tokens(Reward):
        name: ClassVar[str] = "tokens"
        rewards_tokens: ClassVar[bool] = True

        def __call__(self, rollouts: Rollouts) -> RewardResult:
            result = RewardResult.of_tokens(torch.tensor(tokens))
            return result if total is None else replace(result, total_PG=torch.tensor(total))

    return method(reward=Tokens(), advantage=Process())


SHORT = groups([[2, 1]], [[1, 0]])


@pytest.mark.parametrize(
    ("tokens", "total", "message"),
    [
        ([[[1.0, NAN]]], [[1.0, 1.0]], r"has shape \(1, 1, 2\), expected \(1, 2, 'tokens'\)"),
        ([[[1.0], [1.0]]], None, "1 tokens a completion, the longest has 2"),
        ([[[1.0, NAN], [NAN, 1.0]]], None, "past the 1 of completion 1 of prompt 'q0'"),
        ([[[1.0, 1.0], [1.0, NAN]]], [[1.0, 1.0]], "sums to 2 .*completion 0, and the total is 1"),
    ],
)
def test_token_rewards_of_a_wrong_shape_place_or_sum_are_named(tokens: Any, total: Any, message: str) -> None:
    with pytest.raises(BadStrategy, match=message):
        rewarding(tokens, total).rewards(SHORT)


def test_token_rewards_reach_the_advantage_and_nobody_else_s_row() -> None:
    m = rewarding([[[1.0, NAN], [0.0, NAN]]])
    reward = m.rewards(SHORT)
    assert reward.total_PG.tolist() == [[1, 0]]
    half = 0.5 / (0.5**0.5 + 1e-4)
    assert m.advantages(reward, SHORT).flatten(1).tolist()[0] == pytest.approx([half, 0, -half, 0])
    grpo = replace(m, advantage=method().advantage)
    assert grpo.advantages(reward, SHORT)[0].tolist() == pytest.approx([half, -half])
    assert any("whole completions" in w for w in method(advantage=Process()).warnings(RunInfo(2, 9)))
    assert m.warnings(RunInfo(2, 9)) == []


def test_what_functions_add_is_rewarded_at_the_last_kept_token() -> None:
    two = RewardFunction("two", lambda completions: [2.0] * len(completions), weight=0.5)
    m = replace(rewarding([[[1.0, NAN], [0.25, NAN]]]), functions=(two,))
    reward = m.rewards(SHORT.with_(parts={"two": torch.tensor([[2.0, NAN]])}))
    assert reward.total_PG.tolist() == [[2.0, 0.25]]
    assert reward.token_PGT is not None
    assert reward.token_PGT.nan_to_num(9).tolist() == [[[1.0, 1.0], [0.25, 9]]]


def test_a_faulty_token_reward_leaves_its_row_out_where_faults_are_dropped() -> None:
    m = rewarding([[[1e9, -1e9], [0.5, NAN]]])
    reward = m.rewards(SHORT, "drop")
    assert reward.dropped == 1 and reward.total_PG.isnan().tolist() == [[True, False]]
    assert reward.token_PGT is not None and reward.token_PGT[0, 0].isnan().all()
    assert m.advantages(reward, SHORT).eq(0).all()


def test_advantages_of_tokens_past_the_kept_ones_are_0() -> None:
    class Everywhere(Advantage):
        name: ClassVar[str] = "everywhere"

        def __call__(self, reward: RewardResult, rollouts: Rollouts) -> torch.Tensor:
            return torch.ones(rollouts.P, rollouts.G, 4)

    m = method(advantage=Everywhere())
    assert m.advantages(m.rewards(SHORT), SHORT).tolist() == [[[1, 1, 0, 0], [1, 0, 0, 0]]]


def test_step_scores_become_rewards_of_the_steps_last_tokens() -> None:
    steps = ((StepScore(0.5, 1), StepScore(0.25, 2)), ())
    rewards = step_rewards(groups([[2, 1]], [[1, 0]], carried={"steps": (steps,)}))
    assert rewards[0, 0].tolist() == [0.5, 0.25] and rewards[0, 1].isnan().all()
    assert RewardResult.of_tokens(rewards).total_PG.tolist() == [[0.75, 0.0]]


# --- what a plug-in raises -----------------------------------------------------------------------------------


def test_an_error_in_a_plug_in_is_one_message_with_file_and_line() -> None:
    class Broken(Letters):
        name: ClassVar[str] = "broken"

        def __call__(self, rollouts: Rollouts) -> torch.Tensor:
            return torch.zeros(2) + torch.zeros(3)

    with pytest.raises(
        PluginFailed, match=r"reward 'broken' raised RuntimeError: .*test_carried.py, line \d+\); repair it$"
    ):
        method(reward=Broken()).rewards(TEXT)
    with pytest.raises(AttributeError):  # one of ours keeps its traceback
        method().rewards(replace(GROUP, correct_PG=None))  # type: ignore[arg-type]
