"""The longest problems still solved, and what a model lost of it."""

import numpy as np
import pytest

from lenrl import measures

LENGTHS = np.repeat([4, 8, 12, 16], 20)


def answers(correct, tokens):
    tokens = np.broadcast_to(tokens, correct.shape)
    return measures.Answers(range(len(correct)), correct, tokens, np.zeros_like(correct))


def solved(*shares):
    """(80, 1) verdicts: of each length's 20 prompts, this share is right."""
    return np.concatenate([np.arange(20) < round(20 * share) for share in shares]).astype(float)[:, None]


def test_reach_stops_at_the_first_length_below_the_level():
    found = measures.reach(answers(solved(1, 0.95, 0.6, 1), 1.0), LENGTHS, 8)
    assert (found["reach_90"], found["reach_50"]) == (8, 16)
    assert found["inside"]["accuracy"] == pytest.approx(0.975)
    assert found["outside"]["accuracy"] == pytest.approx(0.8)
    assert found["reach_90_ci95"][0] in (4, 8)
    assert measures.reach(answers(solved(0.4, 1, 1, 1), 1.0), LENGTHS, 8)["reach_50"] == 0


def test_a_problem_without_a_length_says_nothing_of_growth():
    lengths, tokens = np.repeat([0, 4, 16], 10), np.repeat([7.0, 8.0, 16.0], 10)[:, None]
    found = measures.reach(answers(np.ones((30, 1)), tokens), lengths, 8)
    assert found["growth"] == pytest.approx(0.5) and found["inside"]["prompts"] == 20


def test_the_intervals_hold_what_other_draws_give():
    found = measures.reach(answers(solved(1, 1, 0.9, 0), 1.0), LENGTHS, 8)
    assert (found["reach_90"], found["reach_90_ci95"]) == (12, [8, 12])


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_growth_is_the_slope_of_tokens_on_length_among_right_completions(power):
    tokens = 3 * (LENGTHS**power)[:, None] * np.where(solved(1, 1, 1, 0) == 1, 1, 50)
    found = measures.reach(answers(solved(1, 1, 1, 0), tokens), LENGTHS, 8)
    assert found["growth"] == pytest.approx(power)
    assert found["growth_ci95"] == pytest.approx([power, power], abs=1e-9)
    assert measures.reach(answers(solved(1, 0, 0, 0), tokens), LENGTHS, 8)["growth"] is None


def test_extra_cost_is_negative_where_more_is_lost_beyond_the_trained_lengths():
    base, model = solved(1, 1, 0.9, 0.9), solved(0.95, 0.95, 0.5, 0.2)
    both = answers(base, 20.0), answers(model, 10.0)
    lost = measures.reach_lost(*both, LENGTHS, 8)
    assert lost["extra_cost"] == pytest.approx((0.35 - 0.9) - (0.95 - 1))
    assert lost["extra_cost_ci95"][1] < 0
    assert (lost["tokens_ratio_inside"], lost["tokens_ratio_outside"]) == (0.5, 0.5)
    assert (lost["reach_90_diff"], lost["reach_50_diff"]) == (8 - 16, 12 - 16)
    same = measures.reach_lost(both[0], both[0], LENGTHS, 8)
    assert (same["extra_cost"], same["reach_90_diff_ci95"]) == (0, [0, 0])
    assert (
        same["extra_cost_ci95"][0] < 0 < same["extra_cost_ci95"][1]
    )  # two models that agree are not surely equal


def test_what_is_not_there_is_none():
    lost = measures.reach_lost(*[answers(solved(1, 1, 1, 1), 1.0)] * 2, LENGTHS, 16)
    assert (lost["extra_cost"], lost["tokens_ratio_outside"]) == (None, None)
    unknown = np.full((80, 1), np.nan)
    found = measures.reach(answers(unknown, 1.0), LENGTHS, 8)
    assert (found["reach_90"], found["growth"], found["inside"]["accuracy"]) == (0, None, None)


@pytest.mark.slow
def test_the_interval_of_the_extra_cost_covers():
    """In 300 evaluations with 60 prompts a part, between 91 % and 99 % of the intervals hold the truth."""
    rng, hits = np.random.default_rng(0), 0
    lengths = np.repeat([8, 16], 60)
    truth = (0.6 - 0.8) - (0.9 - 0.95)
    for _ in range(300):
        base = (rng.random(120) < np.where(lengths == 8, 0.95, 0.8)).astype(float)[:, None]
        model = (rng.random(120) < np.where(lengths == 8, 0.9, 0.6)).astype(float)[:, None]
        low, high = measures.reach_lost(answers(base, 1.0), answers(model, 1.0), lengths, 8)[
            "extra_cost_ci95"
        ]
        hits += low <= truth <= high
    assert 0.91 <= hits / 300 <= 0.99
