"""Labelled verdicts: output, gold answer, honest label. Labels follow the rules, not what the code says."""

import json
from collections import Counter
from pathlib import Path

import pytest

from lenrl.verify.math.normalize import tidy, words
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings

ROWS = [
    json.loads(line) for line in (Path(__file__).parent / "golden_verdicts.jsonl").read_text().splitlines()
]
MAX_FALSE_POSITIVES = 0.005  # of the rows labelled wrong
MAX_FALSE_NEGATIVES = 0.03  # of the rows labelled correct


@pytest.fixture(scope="module")
def verdicts():
    found = {}
    for format in ("boxed", "answer_tag"):
        rows = [row for row in ROWS if row["format"] == format]
        with Verifier(VerifierSettings(format=format, timeout_s=4.0)) as verifier:
            claims = [Claim(row["output"], row["gold"], row["think_prefilled"]) for row in rows]
            found.update(zip((row["id"] for row in rows), verifier.verify(claims), strict=True))
            assert verifier.counts["errors"] == 0
    return found


def test_the_file_is_large_and_varied():
    labels = Counter(row["correct"] for row in ROWS)
    assert len(ROWS) >= 300 and len({row["id"] for row in ROWS}) == len(ROWS)
    assert labels[True] > 150 and labels[False] > 150 and labels[None] >= 8
    assert len({row["id"].split("-")[0] for row in ROWS}) >= 15


def test_shares_of_false_verdicts(verdicts):
    wrong = [row for row in ROWS if verdicts[row["id"]].correct is not row["correct"]]
    positives = [row["id"] for row in wrong if verdicts[row["id"]].correct and row["correct"] is False]
    negatives = [row["id"] for row in wrong if verdicts[row["id"]].correct is False and row["correct"]]
    labels = Counter(row["correct"] for row in ROWS)
    fp, fn = len(positives) / labels[False], len(negatives) / labels[True]
    print(f"false positives {fp:.2%} {positives}\nfalse negatives {fn:.2%} {negatives}")
    assert fp <= MAX_FALSE_POSITIVES and fn <= MAX_FALSE_NEGATIVES
    assert len(positives) + len(negatives) == len(wrong), "a known answer became unknown, or the reverse"


def test_every_disagreement_is_listed_and_every_listed_one_is_real(verdicts):
    differs = {row["id"] for row in ROWS if verdicts[row["id"]].correct is not row["correct"]}
    assert differs == {row["id"] for row in ROWS if row.get("known_miss")}


def test_a_correct_answer_in_mathematics_is_formatted(verdicts):
    right = [
        row for row in ROWS if verdicts[row["id"]].correct and not row["id"].startswith(("text", "hostile"))
    ]
    language = [row for row in right if words(tidy(row["gold"])) is not None]
    assert len(right) > 250
    assert [row["id"] for row in right if not verdicts[row["id"]].formatted] == [
        row["id"] for row in language
    ]


def test_logged_answers_are_short(verdicts):
    assert max(len(verdict.answer or "") for verdict in verdicts.values()) == 200
