"""Intervals, comparisons and measures of samples against exact values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lenrl import measures


def measured(correct_PS) -> measures.Estimate:
    """The accuracy, where some verdict is known."""
    found = measures.accuracy(correct_PS)
    assert found is not None
    return found


def column(values):
    return np.asarray(values, dtype=float)[:, None]


def test_one_sample_a_prompt_gives_the_wilson_interval():
    found = measured(column([1] * 90 + [0] * 10))
    q = stats.t.ppf(0.975, 99)
    centre = (0.9 + q**2 / 200) / (1 + q**2 / 100)
    half = q * math.sqrt(0.9 * 0.1 / 100 + q**2 / 40000) / (1 + q**2 / 100)
    assert found.value == pytest.approx(0.9)
    assert found.ci95 == pytest.approx([centre - half, centre + half])


def test_samples_that_always_agree_count_once():
    once = measured(column([1] * 30 + [0] * 20))
    often = measured(np.repeat(column([1] * 30 + [0] * 20), 16, axis=1))
    assert often.ci95 == pytest.approx(once.ci95)


def test_independent_samples_narrow_the_interval():
    rng = np.random.default_rng(0)
    wide = measured(rng.random((100, 1)) < 0.5)
    narrow = measured(rng.random((100, 16)) < 0.5)
    assert narrow.high - narrow.low < 0.4 * (wide.high - wide.low)


def test_nothing_wrong_is_not_certainty():
    found = measured(column([1] * 50))
    assert found.high == 1.0
    assert 0.9 < found.low < 0.95


def test_unknown_verdicts_are_left_out():
    nan = math.nan
    assert measured([[1, nan], [nan, nan], [0, 1]]).value == pytest.approx(0.75)
    assert measures.accuracy([[nan], [nan]]) is None


def test_constant_lengths_have_no_width_and_skewed_ones_lean_right():
    assert measures.mean_tokens(column([30] * 5)).ci95 == [30, 30]
    skewed = measures.mean_tokens(column([10] * 45 + [200] * 5))
    assert skewed.high - skewed.value > skewed.value - skewed.low > 0


def test_one_prompt_says_nothing_of_others():
    assert measures.mean_tokens([[30, 40]]).ci95 == [0, math.inf]
    ratio = measures.compare([[1, 0]], [[30, 40]], [[1, 1]], [[20, 15]]).tokens_ratio
    assert (ratio.value, ratio.ci95) == (0.5, [0, math.inf])
    assert measured([[1, 1]]).low < 0.3


def test_pairing_is_used():
    rng = np.random.default_rng(4)
    tokens = rng.lognormal(4, 1, (100, 1))
    right = column(rng.random(100) < 0.5)
    found = measures.compare(right, tokens, right, tokens / 2)
    assert found.tokens_ratio.ci95 == pytest.approx([0.5, 0.5])
    assert found.accuracy_diff is not None
    assert found.accuracy_diff.value == 0
    assert 0 < found.accuracy_diff.high < 0.03  # agreement on 100 prompts is not equality


def test_comparison_is_reproducible_and_needs_the_same_prompts():
    rng = np.random.default_rng(5)
    tokens0, tokens = rng.random((40, 2)), rng.random((40, 3))
    parts = tokens0 < 0.5, tokens0, tokens < 0.5, tokens
    assert measures.compare(*parts, seed=7) == measures.compare(*parts, seed=7)
    assert measures.compare(*parts, seed=7) != measures.compare(*parts, seed=8)
    with pytest.raises(ValueError, match="same prompts"):
        measures.compare(parts[0], parts[1], parts[2][:9], parts[3][:9])


def test_aes_exact_values_and_undefined_cases():
    assert measures.aes(0.5, 0.6, 1000, 500) == pytest.approx(0.5 + 3 * 0.2)
    assert measures.aes(0.5, 0.4, 1000, 500) == pytest.approx(0.5 - 5 * 0.2)
    assert measures.aes(0.5, 0.4, 1000, 500, fall=10) == pytest.approx(0.5 - 10 * 0.2)
    assert measures.aes(0.0, 0.4, 1000, 500) is None
    assert measures.aes(None, 0.4, 1000, 500) is None


def test_pass_at_k_by_enumeration():
    from itertools import combinations

    rows = [[1, 0, 0, 1, 0], [0] * 5, [1] * 5]
    for k in (1, 2, 3, 5):
        exact = [np.mean([max(pick) for pick in combinations(row, k)]) for row in rows]
        assert measures.pass_at_k(rows, k) == pytest.approx(np.mean(exact))
    assert measures.pass_at_k(rows, 6) is None
    assert measures.pass_at_k([[1, math.nan]], 2) is None


def test_tokens_by_verdict():
    found = measures.tokens_by_verdict([[1, 0], [1, math.nan]], [[10, 40], [20, 99]])
    assert found == {"tokens_correct": 15, "tokens_wrong": 40, "tokens_per_correct": 35}
    nothing = measures.tokens_by_verdict([[0]], [[10]])
    assert nothing == {"tokens_correct": None, "tokens_wrong": 10, "tokens_per_correct": None}


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0, math.nan]), min_size=3, max_size=3), min_size=1, max_size=30)
)
def test_accuracy_interval_holds_the_value_and_stays_a_share(rows):
    found = measures.accuracy(rows)
    assert found is None or 0 <= found.low <= found.value <= found.high <= 1
