"""The best of several models: who it is, who is not told apart from it, and how often that is right."""

import numpy as np
import pytest

from lenrl import measures
from lenrl.measures import paired
from lenrl.measures.format import points


def simulated(rng, chances, problems=200):
    """Verdicts of models whose chances differ from problem to problem together."""
    hardness = rng.normal(0, 0.2, (problems, 1))
    return [
        (rng.random((problems, 1)) < np.clip(chance - hardness, 0, 1)).astype(float) for chance in chances
    ]


@pytest.mark.parametrize("chances", [[0.7] * 5, [0.72, 0.7, 0.7, 0.6, 0.5]])
def test_the_truly_best_is_among_those_that_are_not_told_apart(monkeypatch, chances):
    monkeypatch.setattr(paired, "RESAMPLES", 1000)
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(200):
        found = measures.rank(simulated(rng, chances), [1.0] * 5)
        kept += 0 in (found.best, *found.tied)
    assert kept >= 190


def test_what_is_far_behind_is_told_apart_and_said_so():
    right = simulated(np.random.default_rng(1), [0.9, 0.6, 0.88])
    found = measures.rank(right, [50, 20, 40])
    assert (found.best, found.next, found.tied) == (0, 2, [2])
    assert found.behind[0] is None and found.behind[1].low > 0.1
    said = measures.certainty(found, ["a", "b", "c"], points)
    assert said.startswith("not told apart from c (+") and "b" not in said
    two = measures.rank(right[:2], [50, 20])
    said = measures.certainty(two, ["a", "b"], points)
    assert said.startswith("told apart from all others: +") and said.endswith("to the next, b")


def test_intervals_hold_for_all_at_once_so_they_widen_with_the_number_of_models():
    a, b = simulated(np.random.default_rng(2), [0.8, 0.75])
    few, many = measures.rank([a, b], [1, 1]), measures.rank([a, *[b] * 9], [1] * 10)
    assert many.behind[1].high - many.behind[1].low > 1.2 * (few.behind[1].high - few.behind[1].low)


def test_without_a_verdict_in_common_nobody_is_the_best():
    unknown = [[float("nan")], [1.0]]
    assert measures.rank([unknown, [[1.0], [float("nan")]]], [1, 1]) is None
    assert measures.rank([], []) is None and measures.rank([[[float("nan")]]], [1]) is None
    alone = measures.rank([[[1.0]]], [1])
    assert (alone.best, alone.next) == (0, None) and measures.certainty(
        alone, "a", points
    ) == "there is no other"


def test_only_answers_within_the_budget_count():
    right = measures.right_within([[1, 1, 0]], [[5, 20, 5]], [[0, 0, 0]], 10)
    assert right.tolist() == [[1, 0, 0]]
    assert measures.right_within([[1]], [[5]], [[1]], 10).tolist() == [[0]]
