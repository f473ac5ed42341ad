"""The record and the verdicts that it is built of."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lenrl.rollouts import StepScore, Verdict
from lenrl.strategies.examples import groups


def test_a_score_is_the_grade_or_what_correct_says() -> None:
    nan = math.nan
    batch = groups([[1, 2, 3, 4]], [[1, 0, 1, nan]], grade_PG=[[0.75, 0.25, nan, nan]])
    assert batch.score_PG[0, :3].tolist() == [0.75, 0.25, 1.0]
    assert batch.score_PG[0, 3].isnan()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": 1.5}, "1.5: must be between 0 and 1"),
        ({"score": math.nan}, "nan: must be between 0 and 1"),
        ({"correct": None, "score": 0.5}, "correct=None"),
        ({"steps": (StepScore(0.5, 9), StepScore(0.5, 9))}, r"\[9, 9\]: each must end behind"),
    ],
)
def test_a_verdict_refuses_what_no_verifier_can_mean(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Verdict(**{"correct": True, **options})


@pytest.mark.parametrize(
    ("score", "end", "message"), [(math.inf, 1, "must be a finite number"), (0.5, 0, "must be at least 1")]
)
def test_a_step_refuses_what_is_no_score_or_no_place(score: float, end: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StepScore(score, end)
