"""The way of a generation batch from budgets to advantages, on plain dicts."""

import math
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from lenrl.config import compose
from lenrl.errors import RunFailed
from lenrl.monitors.local import LocalMonitor
from lenrl.rollouts import NotCarried, StepScore
from lenrl.strategies.advantages.crisp import Crisp
from lenrl.strategies.base import Advantage, Budget, PromptBudget, Reward, Truncation
from lenrl.strategies.budgets.prefill import Prefill
from lenrl.strategies.objectives.mode_margin import ModeMargin
from lenrl.strategies.objectives.sequence_ratio import SequenceRatio
from lenrl.strategies.sampling.drop_flat import DropFlat
from lenrl.training.trl_batch import row_values
from tests.training.parts import END, L_MAX, PAD, Ends, batch_of, ids, scoring
from tests.training.runs import rows_of


class Hint(Budget):
    """A hint and a cap for every second row."""

    name: ClassVar[str] = "hint_each_second"

    def __call__(self, prompt_ids, columns, step, run_info):
        return [
            PromptBudget(hint=f" in {step}", cap=4) if row % 2 else PromptBudget()
            for row in range(len(prompt_ids))
        ]


class FirstThree(Truncation):
    """Keeps three tokens."""

    name: ClassVar[str] = "first_three"

    def __call__(self, rollouts):
        return rollouts.length_PG.clamp(max=3)


class MeanLogp(Advantage):
    """The mean log-prob of each completion."""

    name: ClassVar[str] = "mean_logp"
    needs_logp: ClassVar[bool] = True

    def __call__(self, reward, rollouts):
        return rollouts.mean_logp_PG


@pytest.fixture
def monitor(tmp_path):
    return LocalMonitor(tmp_path, is_main=True)


def method(**slots):
    return replace(compose("grpo").method, **slots)


def rows(*names):
    return [{"prompt_id": name, "prompt": f"{name[1:]}?"} for name in names]


def no_logps(batch):
    raise AssertionError("nobody has asked for log-probs")


def test_budgets_reach_copies_of_the_rows_and_cap_each_its_own(monitor):
    part = scoring(method(budget=Hint()), monitor)
    before = rows("q0", "q0", "q1", "q1")
    after = part.begin(before, step=5, number=0)
    assert [row["prompt"] for row in after] == ["0?", "0? in 5", "1?", "1? in 5"]
    assert before == rows("q0", "q0", "q1", "q1")
    assert part.current.cap == L_MAX
    assert part.capped([[1] * 6] * 4) == [[1] * 6, [1] * 4, [1] * 6, [1] * 4]


def test_the_largest_cap_is_the_batch_s(monitor):
    class Narrow(Hint):
        name: ClassVar[str] = "narrow_all"

        def __call__(self, prompt_ids, columns, step, run_info):
            return [PromptBudget(cap=3 + row) for row in range(len(prompt_ids))]

    part = scoring(method(budget=Narrow()), monitor)
    part.begin(rows("q0", "q0"), step=0, number=0)
    assert part.current.cap == 4


def test_advantages_of_whole_groups_take_the_place_of_trl_s(monitor):
    part = scoring(method(), monitor)
    part.begin(rows("q0", "q0", "q1", "q1"), step=0, number=0)
    completions = [ids("a0."), ids("ab."), ids("1."), ids("1.")]
    total = part.score(completions)
    assert total.shape == (4, 1) and total.dtype == torch.float32
    assert total.flatten().tolist() == [1, 0, 1, 1]
    batch = batch_of(completions)
    after = part.finish(batch, logps=no_logps)
    half = 0.5 / (0.5**0.5 + 1e-4)
    assert after["advantages"].tolist() == pytest.approx([half, -half, 0, 0])
    for name in ("completion_ids", "completion_mask", "num_items_in_batch"):
        assert torch.equal(after[name], batch_of(completions)[name])


def test_what_was_cut_is_judged_again_and_leaves_the_loss(monitor, tmp_path):
    part = scoring(method(truncation=FirstThree()), monitor)
    part.begin(rows("q0", "q0", "q1", "q1"), step=0, number=0)
    completions = [ids("abcd0."), ids("ab0."), ids("a1."), ids("1bcdef")]
    part.score(completions)
    first, again = part.problem_set.verifier.calls
    assert first == ["abcd0", "ab0", "a1", "1bcdef"]
    assert again == ["abc", "ab0", "1bc"]
    batch = part.finish(batch_of(completions), logps=no_logps)
    assert batch["completion_mask"].tolist() == [[1, 1, 1, 0, 0, 0]] * 4
    assert (batch["completion_ids"][:, 3:] == PAD).all()
    assert batch["num_items_in_batch"] == 12
    logged = rows_of(tmp_path)
    assert [row["completion"] for row in logged] == ["abc", "ab0", "a1", "1bc"]
    assert [row["verdict"] for row in logged] == [False, True, True, False]
    assert [row["tokens"] for row in logged] == [6, 4, 3, 6]
    assert [row["truncated"] for row in logged] == [False, False, False, True]


class Marks(Ends):
    """A verifier that gives a tenth of the credit for each character."""

    def verdict(self, text, gold):
        return replace(super().verdict(text, gold), score=len(text) / 10)


def test_a_graded_verdict_is_the_kept_part_s(monitor, tmp_path):
    part = scoring(replace(compose("grpo", ["reward=graded"]).method, truncation=FirstThree()), monitor)
    part.problem_set = replace(part.problem_set, verifier=Marks())
    part.begin(rows("q0", "q0", "q1", "q1"), step=0, number=0)
    completions = [ids("abcd0."), ids("0."), ids("a1."), ids("1bcdef")]
    assert part.score(completions).flatten().tolist() == pytest.approx([0.3, 0.1, 0.2, 0.3])
    part.finish(batch_of(completions), logps=no_logps)
    monitor.step(1, {}, now=0.0)
    assert monitor.last_metrics["score"] == pytest.approx(0.225)
    assert [row["score"] for row in rows_of(tmp_path)] == pytest.approx([0.3, 0.1, 0.2, 0.3])


class Reads(Reward):
    """Keeps what it is shown."""

    name: ClassVar[str] = "reads_all"
    reads: ClassVar = ("prompt", "text", "token_ids", "answer", "gold", "steps")
    seen: ClassVar[list] = []

    def __call__(self, rollouts):
        self.seen.append(rollouts)
        return rollouts.correct_PG


class Halves(Ends):
    """A verifier that scores a step for each half of the text, ".25" and ".75" of the credit."""

    def verdict(self, text, gold):
        steps = (StepScore(0.25, len(text) // 2), StepScore(0.75, len(text)))
        return replace(super().verdict(text, gold), steps=steps)


def test_what_a_strategy_reads_is_carried_of_the_kept_part(monitor):
    Reads.seen.clear()
    part = scoring(method(truncation=FirstThree(), reward=Reads()), monitor)
    part.problem_set = replace(part.problem_set, verifier=Halves())
    part.begin(rows("q0", "q0", "q1", "q1"), step=0, number=0)
    part.score([ids("abcd0."), ids("ab."), ids("a1."), ids("1bcdef")])
    (seen,) = Reads.seen
    assert seen.text_PG == (("abc", "ab"), ("a1", "1bc"))
    assert seen.token_ids_PG[0] == ((97, 98, 99), (97, 98, END))
    assert seen.prompt_P == ("0?", "1?") and seen.gold_P == ("0", "1")
    assert seen.answer_PG == (("c", "b"), ("1", "c"))
    assert [[step.end for step in steps] for steps in seen.steps_PG[0]] == [[1, 3], [1, 2]]
    with pytest.raises(NotCarried):
        seen.logp_PGT  # noqa: B018


def test_a_step_outside_its_text_ends_the_run(monitor):
    class Beyond(Ends):
        def verdict(self, text, gold):
            return replace(super().verdict(text, gold), steps=(StepScore(1.0, 9),))

    part = scoring(method(reward=Reads()), monitor)
    part.problem_set = replace(part.problem_set, verifier=Beyond())
    part.begin(rows("q0", "q0"), step=0, number=0)
    with pytest.raises(RunFailed, match="character 9 of a completion of 2"):
        part.score([ids("ab."), ids("0.")])


def test_a_budget_sees_the_prompts_that_it_reads(monitor):
    class Asks(Hint):
        name: ClassVar[str] = "asks_for_prompts"
        reads: ClassVar = ("prompt", "gold")

        def __call__(self, prompt_ids, columns, step, run_info):
            return [PromptBudget(hint=f" {row['prompt']}{row['gold']}") for row in columns]

    after = scoring(method(budget=Asks()), monitor).begin(rows("q0", "q1", "q1", "q1"), step=0, number=0)
    assert [row["prompt"] for row in after] == ["0? 0?0", *["1? 1?1"] * 3]


class TokenLogp(MeanLogp):
    """The log-prob of each token."""

    name: ClassVar[str] = "token_logp"
    needs_logp: ClassVar[bool] = False
    reads: ClassVar = ("logps",)

    def __call__(self, reward, rollouts):
        return rollouts.logp_PGT.nan_to_num(7.0).double()


def test_an_advantage_may_read_the_log_prob_of_each_token(monitor):
    part = scoring(method(advantage=TokenLogp()), monitor)
    part.begin(rows("q0", "q0"), step=0, number=0)
    completions = [ids("a0."), ids("b.")]
    part.score(completions)
    logps = torch.tensor([[-1.0, -2.0, -6.0], [-1.0, -2.0, -9.0]])
    batch = part.finish(batch_of(completions), logps=lambda batch: logps)
    assert batch["advantages"].tolist() == [[-1.0, -2.0, -6.0], [-1.0, -2.0, 0.0]]


def test_log_probs_are_asked_for_where_the_advantage_reads_them(monitor):
    part = scoring(method(advantage=MeanLogp()), monitor)
    part.begin(rows("q0", "q0"), step=0, number=0)
    completions = [ids("a0."), ids("b.")]
    part.score(completions)
    logps = torch.tensor([[-1.0, -2.0, -6.0], [-1.0, -2.0, float("nan")]])
    batch = part.finish(batch_of(completions), logps=lambda batch: logps)
    assert batch["advantages"].tolist() == [-3.0, -1.5]


def test_a_teacher_reads_the_prompt_with_its_words_and_the_budget_s(monitor):
    part = scoring(method(budget=Hint(), advantage=Crisp(instruction="brief: ")), monitor)
    part.begin(rows("q0", "q0"), step=3, number=0)
    completions = [ids("a0."), ids("b.")]
    part.score(completions)
    asked = []

    def teacher(batch):
        for row, mask in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True):
            asked.append(row[mask.bool()].tolist())
        return torch.tensor([[-1.0, -1.0, -1.0], [float("nan")] * 3])

    logps = torch.tensor([[-2.0, -1.0, -4.0]] * 2)
    batch = part.finish(batch_of(completions), lambda _: logps, teacher=teacher)
    assert asked == [ids("brief: 0?"), ids("brief: 0? in 3")]
    assert batch["advantages"].tolist() == [[1.0, 0.0, 3.0], [0.0, 0.0, 0.0]], "the second one has no teacher"
    assert batch["prompt_ids"].tolist() == [[7], [7]], "the policy learns on its own prompt"


def test_groups_without_a_signal_give_their_place_to_others_or_weigh_nothing(monitor, tmp_path):
    part = scoring(method(sampling=DropFlat()), monitor)
    drawn = part.begin(rows("q9", "q9", "q9", "q9"), step=0, number=0)
    names = [row["prompt_id"] for row in drawn]
    assert part.cursor.position == len(set(names)) and "q9" not in names
    completions = [ids(f"{name[1:]}.") for name in names]
    completions[0] = ids("x.")
    part.score(completions)
    batch = part.finish(batch_of(completions), logps=no_logps)
    assert batch["row_weight"].tolist() == [1, 1, 0, 0]
    assert batch["completion_mask"].sum(-1).tolist() == [2, 2, 0, 0]
    assert batch["advantages"].tolist()[2:] == [0, 0]
    assert batch["num_items_in_batch"] == 4
    assert [row["in_update"] for row in rows_of(tmp_path)] == [True, True, *[False] * (len(names) - 2)]


def test_an_objective_gets_values_of_rows_and_prompts_without_the_budget_s_words(monitor):
    margin = ModeMargin(long_token=0, short_token=1)
    part = scoring(method(budget=Hint(), objective=margin, sampling=DropFlat()), monitor)
    names = [row["prompt_id"] for row in part.begin(rows("q9", "q9", "q9", "q9"), step=0, number=0)]
    completions = [ids(f"{name[1:]}.") for name in names]
    completions[0] = ids("x.")
    part.score(completions)
    batch = part.finish(batch_of(completions), logps=no_logps)
    assert batch["row_value_short_is_good"].tolist() == [1, 1, 0, 0], "half is right, and two rows only fill"
    assert batch["bare_prompt_ids"].tolist() == [ids(f"{name[1:]}?") for name in names[:4]]
    assert batch["bare_prompt_mask"].tolist() == [[1, 1]] * 4
    batch = finished(scoring(method(), monitor))
    assert not [key for key in batch if "row_value" in key or "bare" in key], "nobody has asked"


def finished(part):
    part.begin(rows("q0", "q0"), step=0, number=0)
    part.score([ids("0."), ids("x.")])
    return part.finish(batch_of([ids("0."), ids("x.")]), logps=no_logps)


def test_values_of_rows_are_checked(monitor):
    class Odd(ModeMargin):
        name: ClassVar[str] = "odd"

        def row_values(self, rollouts, reward):
            return {"odd": rollouts.correct_PG / 0}

    with pytest.raises(RunFailed, match=r"row value 'odd' of objective 'odd' .* is not finite"):
        finished(scoring(method(objective=Odd()), monitor))


def test_completions_begin_with_forced_tokens_that_count(monitor, tmp_path):
    """Even rows with `ab`, odd ones with `c`, sampled after the prompt; caps, texts and log-probs are of the whole."""
    part = scoring(
        method(budget=Prefill(long="ab", short="c", short_cap=4), objective=SequenceRatio()), monitor
    )
    part.begin(rows("q0", "q0"), step=0, number=0)
    forced = part.current.forced
    assert forced.begun([[7], [7]]) == [[7, *ids("ab")], [7, *ids("c")]]
    assert forced.rooms(part.caps) == [L_MAX - 2, 3]
    completions, logps = forced.whole([ids("0."), ids("000")], [[-1.0, -2.0], [-3.0] * 3])
    assert completions == [ids("ab0."), ids("c000")]
    half = math.log(0.5)
    assert logps == [[half, 0.0, -1.0, -2.0], [half, -3.0, -3.0, -3.0]]
    part.score(completions)
    batch = part.finish(batch_of(completions), logps=no_logps)
    assert [row["completion"] for row in rows_of(tmp_path)] == ["ab0", "c000"]
    assert [row["forced_tokens"] for row in rows_of(tmp_path)] == [2, 1]
    values = row_values(batch)
    assert values["forced"].tolist() == [2, 1] and values["forced_logp"].tolist() == pytest.approx([half] * 2)


def test_tokens_of_thinking_and_answer_are_told_apart(monitor, tmp_path):
    part = scoring(method(), monitor)
    part.begin(rows("q0", "q0"), step=0, number=0)
    completions = [ids("<think>1</think>0 or 0."), ids("0.")]
    part.score(completions)
    part.finish(batch_of(completions), logps=no_logps)
    assert [row["thinking_tokens"] for row in rows_of(tmp_path)] == [16, None]
    part.problem_set = replace(part.problem_set, think_prefilled=True)
    part.begin(rows("q0", "q0"), step=1, number=1)
    completions = [ids("a long thought</think>" + 60 * "0" + "."), ids("0000")]
    part.score(completions)
    part.finish(batch_of(completions), logps=no_logps)
    assert [row["thinking_tokens"] for row in rows_of(tmp_path)][2:] == [22, 4]


def test_nothing_is_left_between_two_batches(monitor):
    part = scoring(method(), monitor)
    with pytest.raises(AssertionError):
        part.score([ids("0.")])
    for step in range(2):
        part.begin(rows("q0", "q0"), step=step, number=step)
        part.score([ids("0."), ids("x.")])
        part.finish(batch_of([ids("0."), ids("x.")]), logps=no_logps)
        with pytest.raises(AssertionError):
            part.current  # noqa: B018


def test_strategies_observe_each_batch_once_and_their_states_are_known_to_have_changed(monitor):
    palu = compose("palu").method
    part = scoring(palu, monitor)
    assert part.strategies.version == 0
    part.begin(rows("q0", "q0"), step=0, number=0)
    part.score([ids("a0."), ids("0.")])
    assert part.strategies.version == 0
    part.finish(batch_of([ids("a0."), ids("0.")]), logps=no_logps)
    assert part.strategies.version == 1
    assert part.strategies.state_dict()["budget"]["prompts"]["q0"]["visits"] == 1


def test_a_prompt_is_rendered_once_for_completions_that_read_the_same_words(monitor, tmp_path, monkeypatch):
    part, texts = scoring(method(budget=Hint()), monitor, group_size=4), []
    prompts = part.problem_set.prompts
    text = prompts.text
    monkeypatch.setattr(
        prompts, "text", lambda *given: texts.append(text(*given)) or texts[-1], raising=False
    )
    part.begin(rows("q0", "q0", "q0", "q0"), step=3, number=0)
    completions = [ids("a0."), ids("ab."), ids("0."), ids("1.")]
    part.score(completions)
    part.finish(batch_of(completions), logps=no_logps)
    assert texts == ["0?", "0? in 3"]
    assert [row["rendered"] for row in rows_of(tmp_path)] == texts * 2
