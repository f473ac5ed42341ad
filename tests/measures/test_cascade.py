"""Cascades by hand, at their edges, and the coverage of their intervals."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lenrl import measures
from lenrl.measures import deferral

LOGPS = [[-0.1, -0.1], [-0.1, -2, -0.1, -0.1], [-0.2] * 6, [-0.3, -0.9, -0.1]]


def answers(correct, tokens, summaries=None):
    correct = np.array(correct, dtype=float)
    return measures.Answers(range(len(correct)), correct, np.array(tokens), np.zeros_like(correct), summaries)


BASE = answers([[1], [1], [1], [0]], [[80], [100], [120], [100]])


def constant(P, S):
    """Summaries that say nothing."""
    return np.zeros((P, S, len(measures.SUMMARIES)))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(deferral, "RESAMPLES", 50)


@pytest.fixture
def four():
    summaries = np.array([[measures.summarise(logps)] for logps in LOGPS])
    return answers([[1], [0], [1], [0]], [[10], [10], [20], [20]], summaries)


def test_four_answers_by_hand(four, monkeypatch):
    """The least sure by sums: the second, fourth, third, first; by quartiles: fourth, second, third, first."""
    assert [round(measures.summarise(logps)[6], 3) for logps in LOGPS] == [-0.1, -0.575, -0.2, -0.6], "q25"
    found = measures.cascade(four, BASE)
    assert (found["first"], found["base"]) == (
        {"accuracy": 0.5, "tokens": 15},
        {"accuracy": 0.75, "tokens": 100},
    )
    by_sum = found["scores"]["sum"]
    assert by_sum["accuracy"][::5] == pytest.approx([0.5, 0.75, 0.75, 0.75, 0.75])
    assert by_sum["tokens"][::5] == pytest.approx([15, 40, 65, 95, 115])
    assert (by_sum["auc"], by_sum["gain"]) == pytest.approx((0.71875, 0.15))
    assert (by_sum["tokens_at_parity"], by_sum["share_at_parity"]) == pytest.approx((40, 0.4))
    assert by_sum["accuracy_within"][:3] == pytest.approx([0.5, 0.585, 0.67])
    assert found["scores"]["oracle"]["auc"] >= max(score["auc"] for score in found["scores"].values())
    assert "learned" not in found["scores"] and "vote" not in found["scores"], (
        "too few to learn from, one sample"
    )
    monkeypatch.setattr(deferral, "SCORES", ("q25",))
    by_quartile = measures.cascade(four, BASE)["scores"]["q25"]
    assert (by_quartile["auc"], by_quartile["gain"]) == pytest.approx((0.65625, 0.05))


def test_a_score_that_says_nothing_gains_nothing():
    correct = np.arange(60).reshape(30, 2) % 3 == 0
    found = measures.cascade(
        answers(correct, np.full((30, 2), 9), constant(30, 2)),
        answers(np.ones((30, 4)), np.full((30, 4), 50)),
    )
    assert found["scores"]["mean"]["gain"] == pytest.approx(0)
    assert found["scores"]["mean"]["accuracy"] == pytest.approx(np.linspace(1 / 3, 1, 21))
    assert found["scores"]["learned"]["auc"] == pytest.approx(2 / 3, abs=0.05)


def test_empty_answers_are_deferred_together():
    """In any order, and so as answers that are deferred at random are."""
    sure = np.full((2, 1, len(measures.SUMMARIES)), -math.inf)
    for right in ([[1], [0]], [[0], [1]]):
        found = measures.cascade(answers(right, [[1], [1]], sure), answers([[1], [1]], [[9], [9]]))
        assert found and found["scores"]["sum"]["gain"] == pytest.approx(0)


def test_tellings_of_a_problem_are_drawn_together():
    """As intervals of all prompts would be if each problem were told once, with as many samples."""
    rng = np.random.default_rng(0)
    right_BR, scores_BR = (
        rng.integers(0, 2, (30, 2)),
        rng.normal(size=(30, 2, 1)) * np.ones(len(measures.SUMMARIES)),
    )
    base = answers(rng.integers(0, 2, (30, 1)), np.full((30, 1), 100))
    together = measures.cascade(answers(right_BR, np.full((30, 2), 10), scores_BR), base)
    told = answers(right_BR.reshape(60, 1), np.full((60, 1), 10), scores_BR.reshape(60, 1, -1))
    twice = answers(np.repeat(base.correct_PS, 2, axis=0), np.full((60, 1), 100))
    apart = measures.cascade(told, twice)
    grouped = measures.cascade(replace(told, base_P=np.repeat(np.arange(30), 2)), twice)
    assert together and grouped and apart and grouped["scores"]["sum"] == together["scores"]["sum"]
    assert grouped["scores"]["learned"]["auc"] == together["scores"]["learned"]["auc"]
    assert apart["scores"]["sum"]["auc_ci95"] != grouped["scores"]["sum"]["auc_ci95"]


def test_unknown_verdicts_and_empty_answers():
    nan = math.nan
    empty = answers([[nan], [0]], [[5], [0]], np.array([[measures.summarise([])]] * 2))
    found = measures.cascade(empty, answers([[1], [1]], [[50], [50]]))
    assert found["prompts"] == 1 and found["scores"]["sum"]["auc"] == pytest.approx(0.5)
    assert measures.cascade(empty, answers([[1], [nan]], [[50], [50]])) is None
    longer = measures.cascade(
        answers([[0], [1]], [[70], [70]], constant(2, 1)), answers([[1], [1]], [[50]] * 2)
    )
    assert np.isnan(longer["scores"]["sum"]["accuracy_within"]).all(), "the base is within its first answer"


def simulated(rng, P):
    """First answers whose mean log-prob says something of their verdicts, and a base that is better."""
    easy = rng.normal(0, 1, (P, 1))
    right = rng.random((P, 2)) < 1 / (1 + np.exp(-easy))
    summaries = constant(P, 2) + (easy + rng.normal(0, 1, (P, 2)))[..., None]
    first = answers(right, rng.lognormal(3, 0.3, (P, 2)), summaries)
    return first, answers(rng.random((P, 2)) < 0.8, rng.lognormal(4.5 - 0.3 * easy, 0.2, (P, 2)))


@pytest.mark.slow
@pytest.mark.long
def test_intervals_hold_the_truth(monkeypatch):
    """1,000 evaluations of 150 prompts, against one of 50,000."""
    scores = deferral._scores
    monkeypatch.setattr(deferral, "_scores", lambda *given: {"mean": scores(*given)["mean"]})
    monkeypatch.setattr(deferral, "RESAMPLES", 2)
    rng = np.random.default_rng(0)
    truth = measures.cascade(*simulated(rng, 50_000))["scores"]["mean"]
    monkeypatch.setattr(deferral, "RESAMPLES", 400)
    monkeypatch.setattr(deferral, "LEAST_DIFFERING", math.inf)
    found = [measures.cascade(*simulated(rng, 150))["scores"]["mean"] for _ in range(1000)]
    held = {}
    for name in ("auc", "gain", "tokens_at_parity", "share_at_parity"):
        held[name] = np.mean(
            [one[f"{name}_ci95"][0] <= truth[name] <= one[f"{name}_ci95"][1] for one in found]
        )
    middle = [one["accuracy_ci95"][10] for one in found]
    held["middle"] = np.mean([below <= truth["accuracy"][10] <= above for below, above in middle])
    late = {held.pop(name) for name in ("tokens_at_parity", "share_at_parity")}
    assert all(0.92 <= share <= 0.97 for share in held.values()), held
    assert all(0.85 <= share <= 0.97 for share in late), (
        "the first point of a noisy curve that reaches something"
    )


def test_what_is_learned_beats_a_score_that_is_upside_down_and_is_told_nothing_of_its_prompt():
    rng = np.random.default_rng(1)
    first, base = simulated(rng, 400)
    upside_down = answers(first.correct_PS, first.tokens_PS, -first.summaries_PSK)
    found = measures.cascade(upside_down, base)["scores"]
    assert found["learned"]["gain"] > 0.02 and found["mean"]["gain"] < -0.02
    noise = constant(400, 2) + rng.normal(size=(400, 2, 1))
    blind = measures.cascade(answers(first.correct_PS, np.full((400, 2), 9), noise), base)
    assert blind["scores"]["learned"]["gain"] < 0.01, "folds: it has not seen the verdicts that it defers by"
