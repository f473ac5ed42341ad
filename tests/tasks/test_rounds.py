"""Problems that are told longer and longer: the conditions, their order and the answer stay."""

import re
from collections import Counter

import numpy as np
import pytest

from lenrl import measures
from lenrl.errors import BadInput
from lenrl.tasks import build
from lenrl.tasks.rounds import BANK, lengthened, sentences

FORBIDDEN = re.compile(
    r"\d|[$€£%]|\b(one|two|three|four|five|six|seven|eight|nine|ten|dozen|hundred|half|double|twice|each|every|per|total|"
    r"more|less|left|remaining|both|few|some|many|all|another|he|she|him|her|his|hers|they|them|it|its|this|that|man|woman|"
    r"boy|girl|child|children|people|person|friend|mother|father|hours?|minutes?|seconds?|days?|weeks?|miles?|feet|foot|"
    r"yards?|inch(es)?|pounds?|ounces?|cups?|dollars?|cents?|euros?)\b",
    re.IGNORECASE,
)


def test_the_bank_is_scenery():
    assert len(BANK) == len(set(BANK)) >= 160
    for sentence in BANK:
        assert 12 <= len(sentence.split()) <= 16 and sentences(sentence) == [sentence], sentence
        assert not FORBIDDEN.search(sentence), sentence
        assert not re.search(r"(?<!^)\b[A-Z]", sentence), f"a name: {sentence}"


@pytest.fixture(scope="module")
def told():
    return build({"name": "gym", "generator": "gsm_symbolic", "rounds": 4, "test": 30}).problems("test")


def test_every_problem_comes_in_every_round_with_its_own_gold(told):
    assert len(told) == 30 * 5 and len({problem.id for problem in told}) == 150
    for places in range(0, 150, 5):
        rounds = told[places : places + 5]
        assert [problem.columns["round"] for problem in rounds] == [0, 1, 2, 3, 4]
        assert len({problem.columns["base"] for problem in rounds}) == len({p.answer for p in rounds}) == 1
        words = [len(problem.prompt.split()) for problem in rounds]
        assert all(96 <= more - less <= 128 for less, more in zip(words, words[1:], strict=False))


def test_conditions_stay_in_order_and_the_question_last(told):
    for places in range(0, 150, 5):
        original = sentences(told[places].prompt)
        for before, after in zip(told[places : places + 4], told[places + 1 : places + 5], strict=True):
            inner, outer = sentences(before.prompt), iter(sentences(after.prompt))
            assert all(sentence in outer for sentence in inner), "a round holds the one before, in order"
            assert Counter(re.findall(r"\d", before.prompt)) == Counter(re.findall(r"\d", after.prompt))
            assert sentences(after.prompt)[-3:] == original[-3:]


def test_the_same_seed_tells_the_same():
    text = "Ann has 3 cats. Prof. Jones has 2. How many are there? Give the number. No units."
    assert lengthened(text, 2, 7) == lengthened(text, 2, 7) != lengthened(text, 2, 8)
    assert lengthened(text, 0, 7) == text
    assert sentences(text)[1] == "Prof. Jones has 2."


def test_rounds_are_for_stories():
    with pytest.raises(BadInput, match="rounds=2.*gsm_symbolic"):
        build({"name": "gym", "generator": "chain_sum", "rounds": 2})
    plain, none = (
        build({"name": "gym", "generator": "gsm_symbolic", "test": 4, **more}).problems("test")
        for more in ({}, {"rounds": 0})
    )
    assert plain == none and "round" not in plain[0].columns


def test_figures_of_rounds_by_hand():
    """Two samples: each is a conjunction of its own; unknown verdicts are left out."""
    correct = np.array([[[1, 1], [1, 0], [1, 1]], [[1, 0], [0, 1], [0, 1]]], dtype=float)
    tokens = np.full((2, 3, 2), 10.0) * np.array([1, 2, 3])[:, None]
    found = measures.figures_of_rounds(correct, tokens)
    assert found["accuracy"] == [0.75, 0.5, 0.75] and found["tokens"] == [10, 20, 30]
    assert (found["coleg_e"], found["coleg_r"], found["drop"]) == (0.5, 1.0, 0.0)
    rare = measures.figures_of_rounds(np.array([[1, 1], *[[0, 1]] * 9])[..., None], np.ones((10, 2, 1)))
    assert rare["coleg_r"] == 10 and rare["coleg_r_ci95"][1] == np.inf, "a base that is hardly ever right"
    correct[0, 2] = np.nan
    assert measures.every_round(correct)[0].tolist() == pytest.approx([np.nan, 0], nan_ok=True), "a 0 decides"
    assert measures.figures_of_rounds(correct, tokens)["coleg_e"] == 0.25
    assert measures.figures_of_rounds(np.zeros((2, 3, 1)), tokens)["coleg_r"] is None
