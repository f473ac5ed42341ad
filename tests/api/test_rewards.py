"""The rule by which TRL's reward functions give the verdict or parts of the reward."""

from functools import partial

import pytest
from trl.rewards import accuracy_reward, think_format_reward

from lenrl import verdict
from lenrl.api import methods
from lenrl.api.rewards import assign, code_of, functions_of, plain
from lenrl.errors import BadInput
from tests.api.data import noise, right, shorter

GIVEN = methods.read("grpo_lambda").method


def judged(given, *, has_answers, verified=False, method=GIVEN):
    return assign(method, functions_of(given, None), has_answers=has_answers, verified=verified)


@pytest.mark.parametrize(
    ("given", "has_answers", "judge"),
    [
        (right, False, "right"),  # the only function, and no gold answers
        (accuracy_reward, True, "accuracy_reward"),  # TRL's judge
        ([noise, accuracy_reward, think_format_reward], True, "accuracy_reward"),
        (verdict(right), True, "right"),
        ([verdict(right), accuracy_reward], True, "right"),  # the mark goes before what is known
        ([shorter, verdict(right)], False, "right"),
    ],
)
def test_one_function_is_the_verdict(given, has_answers, judge):
    result = judged(given, has_answers=has_answers)
    names = {f.__name__ for f in (given if isinstance(given, list) else [given])}
    assert result.method.judge.name == judge and not result.by_answers
    assert {f.name for f in result.method.added} == names - {judge}


@pytest.mark.parametrize(
    ("given", "has_answers", "named"),
    [
        ([right, shorter], False, "right, shorter are several"),
        ([right, shorter], True, "right, shorter are several"),
        (right, True, "right is one, and the data has gold answers as well"),
        ([verdict(right), verdict(shorter)], False, "are several"),
    ],
)
def test_an_open_verdict_is_refused_with_the_choices(given, has_answers, named):
    with pytest.raises(BadInput, match=named) as refused:
        judged(given, has_answers=has_answers)
    assert "lenrl.verdict(function)" in str(refused.value) and "verifier='math'" in str(refused.value)


def test_with_a_verifier_every_function_is_a_part():
    result = judged([right, shorter], has_answers=True, verified=True)
    assert result.method.judge is None and result.by_answers
    assert [f.name for f in result.method.added] == ["right", "shorter"]


def test_without_functions_the_answers_are_verified():
    assert judged(None, has_answers=True).by_answers


def test_a_method_without_verdicts_takes_every_function_as_a_part():
    surrogate = methods.read("surrogate").method
    result = judged([right, shorter], has_answers=True, method=surrogate)
    assert result.method.judge is None and not result.by_answers


def test_plain_grpo_with_functions_is_their_weighted_sum():
    functions = functions_of([right, shorter], [1.0, 0.5])
    method = plain(GIVEN, functions, "group", verified=False)
    assert (method.reward.name, method.advantage.name) == ("none", "grpo")
    assert plain(GIVEN, functions, "none", verified=False).advantage.name == "dr_grpo"
    assert plain(GIVEN, functions, "group", verified=True).reward.name == GIVEN.reward.name
    with pytest.raises(BadInput, match="scale_rewards='batch'"):
        plain(GIVEN, functions, "batch", verified=False)


@pytest.mark.parametrize(
    ("given", "weights", "said"),
    [
        ("org/reward-model", None, "org/reward-model is a reward model"),
        ([right, shorter], [1.0], "1 weights and there are 2 reward_funcs"),
        (None, [1.0], "1 weights and there are 0 reward_funcs"),
    ],
)
def test_what_is_no_function_is_refused(given, weights, said):
    with pytest.raises(BadInput, match=said):
        functions_of(given, weights)


def test_functions_of_one_name_are_numbered():
    made = [lambda completions: [0.0], right, lambda completions: [1.0]]
    assert [function.name for function in functions_of(made, None)] == ["<lambda>", "right", "<lambda>_2"]


def test_the_verdict_has_no_weight_of_its_own():
    with pytest.raises(BadInput, match="the weight 2"):
        assign(GIVEN, functions_of(right, [2.0]), has_answers=False, verified=False)


def test_the_code_of_functions_is_told_apart():
    def same(completions, **columns):
        return [0.0 for _ in completions]

    first = code_of(functions_of(same, None))

    def same(completions, **columns):  # noqa: F811 - an edited function of the same name
        return [0.5 for _ in completions]

    assert code_of(functions_of(same, None)) != first
    assert code_of(functions_of(right, None)) == code_of(functions_of(right, None))
    assert code_of(functions_of(right, [2.0])) != code_of(functions_of(right, None))

    def near(cap):
        def near_cap(completions, **columns):
            return [len(text) / cap for text in completions]

        return near_cap

    made = [code_of(functions_of(near(cap), None)) for cap in (10, 10, 20)]
    assert made[0] == made[1] != made[2]
    counted = [code_of(functions_of(partial(right, word=w), None)) for w in "aab"]
    assert counted[0] == counted[1] != counted[2] and "right" in counted[0]["functions"]
    assert code_of(functions_of(verdict(right), None)) == code_of(functions_of(right, None))
