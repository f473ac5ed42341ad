"""scripts/make_reasoner.py: what the wordiness that it teaches consists of."""

import random
import sys
from pathlib import Path

import pytest

pytest.importorskip("reasoning_gym")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from make_reasoner import Words, taught, turned, wordy

QUESTION = (
    "A boy has 13 books. His sister has 10 fewer books than he has. How many books do they have together?"
)
SOLUTION = "His sister has 13 - 10 = 3 books.\nTogether, they have 13 + 3 = 16 books.\n#### 16"
NONE, ALWAYS = (0.0, 0), (1.0, 1)
TERSE = "<think>\nHis sister has 13 - 10 = 3 books.\nTogether, they have 13 + 3 = 16 books.\n</think>\n\\boxed{16}"


@pytest.mark.parametrize(
    ("words", "added"),
    [
        (Words(NONE, NONE, NONE), ""),
        (Words(ALWAYS, NONE, NONE), "The numbers that I am given are 13, 10.\n"),
        (Words(NONE, ALWAYS, NONE), "Wait, let me check. 13 - 10 = 3. 13 + 3 = 16.\n"),
        (Words(NONE, NONE, ALWAYS), "The other way round: 16 - 3 = 13. It fits.\n"),
    ],
)
def test_each_kind_of_words_is_added_to_the_solution(words, added):
    text = wordy(QUESTION, SOLUTION, words, random.Random(0))
    assert added in text
    assert text.replace(added, "", 1) == TERSE


def test_shares_and_lengths_are_of_the_completions():
    rng, words = random.Random(0), Words(NONE, (0.5, 2), NONE)
    texts = [wordy(QUESTION, SOLUTION, words, rng) for _ in range(400)]
    once, twice = (sum(sign in text for text in texts) for sign in ("Wait", "once more"))
    assert 170 < once < 230
    assert 70 < twice < 130


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [("13-10", "3", "3 + 10 = 13"), ("2 + 3 + 4", "9", "9 - 4 - 3 = 2"), ("6*2", "12", "12 / 2 = 6")],
)
def test_an_equation_is_turned_round(left, right, expected):
    assert turned(left, right) == expected


def test_taught_are_right_answers_about_twice_as_long_as_the_solutions():
    wordy_pairs, terse_pairs = (
        list(taught(60, w, [])) for w in (Words((0.5, 3), (0.8, 2), (0.5, 2)), Words(*[NONE] * 3))
    )
    assert [p for p, _ in wordy_pairs] == [p for p, _ in terse_pairs]
    ends = [[text.split("</think>")[1] for _, text in pairs] for pairs in (wordy_pairs, terse_pairs)]
    assert ends[0] == ends[1]
    assert all("=" in text for _, text in terse_pairs)
    length = [sum(len(text) for _, text in pairs) for pairs in (wordy_pairs, terse_pairs)]
    assert 1.7 < length[0] / length[1] < 2.4
