"""Measures of budgets, lengths, votes, answers and preferences: by hand, or by brute force."""

import doctest
import importlib
import math
import pkgutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from lenrl import measures

nan = math.nan
CORRECT = [[1, 1], [0, 1], [nan, 1]]
TOKENS = [[10, 30], [5, 20], [10, 40]]
CUT = [[0, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(measures.__path__)])
def test_the_examples_of_the_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"lenrl.measures.{name}")).failed == 0


@pytest.mark.parametrize(
    ("budget", "exact"), [(9, 0), (10, (1 / 2 + 0 + 0) / 3), (20, (1 / 2 + 1 / 2) / 3), (50, (1 + 1 / 2) / 3)]
)
def test_accuracy_within_a_budget(budget, exact):
    found = measures.accuracy_within(CORRECT, TOKENS, CUT, budget)
    assert found is not None and found.value == pytest.approx(exact)


def test_the_area_is_the_mean_over_all_budgets():
    found = measures.area_within(CORRECT, TOKENS, CUT, 40)
    curve = [measures.accuracy_within(CORRECT, TOKENS, CUT, t) for t in (np.arange(4000) + 0.5) / 100]
    assert found is not None
    assert found.value == pytest.approx(np.mean([point.value for point in curve if point]), abs=1e-4)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert measures.area_within([[nan]], [[3]], [[0]], 10) is None
    never_wrong = measures.area_within([[1]] * 30, [[10]] * 30, [[0]] * 30, 100)
    assert never_wrong is not None and never_wrong.value == pytest.approx(0.9) and never_wrong.low < 0.87
    with pytest.raises(ValueError, match="budget=0"):
        measures.area_within(CORRECT, TOKENS, CUT, 0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), min_size=1, max_size=9))
def test_the_front_is_what_nothing_beats(points):
    front = measures.pareto_front([a for a, _ in points], [t for _, t in points])
    for (a, t), on in zip(points, front, strict=True):
        beaten = any((x >= a and y < t) or (x > a and y <= t) for x, y in points)
        assert on == (not beaten)
    assert any(front)


def test_the_lengths_of_a_prompt():
    found = measures.prompt_lengths([[4, 1, 3, 2], [5, 5, 5, 5]], [[0, 1, 0, 0], [1, 1, 0, 0]])
    assert list(found) == "mean sd p25 p50 p75 p99 shortest longest degenerate_share".split()  # noqa: SIM905
    first = [float(values[0]) for values in found.values()]
    assert first == pytest.approx([2.5, math.sqrt(5 / 3), 1.75, 2.5, 3.25, 3.97, 1, 4, 0.25])
    assert found["sd"][1] == 0 and found["degenerate_share"][1] == 0.5
    assert np.isnan(measures.prompt_lengths([[4], [5]], [[0], [0]])["sd"]).all()


@pytest.mark.parametrize(
    ("ids", "looping"),
    [
        ([5] * 32, True),
        ([5] * 31, False),  # a short tail of one token
        ([*range(100), *([1, 2, 3] * 20), 1, 2], True),  # the last repeat is cut
        ([*range(40)] * 4, True),
        ([*range(40)] * 3, False),  # three times is a refrain
        ([1, 2, 3, 4] * 20 + [9], False),  # it came out of the loop
        ([], False),
        (list(np.random.default_rng(0).integers(0, 50, 3000)), False),
    ],
)
def test_loops(ids, looping):
    assert measures.loops(ids) is looping


def test_the_majority_of_ties_is_the_first():
    assert measures.majority_vote(["b", "a", "a", "b"]) == "b"
    assert measures.majority_vote([None, None, "c"]) == "c"
    assert measures.majority_vote([None]) is None


def test_the_length_filtered_vote_by_hand():
    answers = ["1", "1", "2", "3", "2", "2", "2", "4", "5", "5"]
    lengths = [2, 3, 4, 5, 6, 7, 8, 9, 100, 11]
    # Buckets of width 2: {1 1} entropy 0, {2 3} ln 2, {2 2} 0, {2 4} ln 2; {5} and {5} are alone.
    assert measures.majority_vote(answers) == "2"
    assert measures.length_filtered_vote(answers, lengths, buckets=1) == "1"  # of equals the shorter lengths
    assert measures.length_filtered_vote(answers, lengths, buckets=2) == "1"  # 1 1 2 2: the first
    assert measures.length_filtered_vote(answers, lengths) == "2"  # and {2 3}
    assert measures.length_filtered_vote(answers, lengths, width=1) == "2"  # all alone: all vote
    assert measures.length_filtered_vote([None, None], [1, 1]) is None
    with pytest.raises(ValueError, match="width=0"):
        measures.length_filtered_vote(answers, lengths, width=0)


def by_definition(answers, lengths, width, buckets):
    groups = {}
    for answer, length in zip(answers, lengths, strict=True):
        groups.setdefault(length // width, []).append(answer)
    groups = {number: group for number, group in groups.items() if len(group) > 1}

    def rank(number):
        shares = [count / len(groups[number]) for count in Counter(groups[number]).values()]
        return round(-sum(p * math.log(p) for p in shares), 9), -len(groups[number]), number

    chosen = sorted(groups, key=rank)[:buckets] or {length // width for length in lengths}
    counts = Counter(a for a, n in zip(answers, lengths, strict=True) if n // width in chosen)
    return {answer for answer, count in counts.items() if count == max(counts.values())}


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=16),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_the_length_filtered_vote_by_definition(votes, width, buckets):
    answers, lengths = [a for a, _ in votes], [n for _, n in votes]
    found = measures.length_filtered_vote(answers, lengths, width=width, buckets=buckets)
    assert found in by_definition(answers, lengths, width, buckets)


def test_an_elected_answer_has_its_own_verdict():
    answers = [["1", "2", "2"], [None, None, None], ["3", "4", "5"]]
    correct = [[1, 0, 0], [0, 0, 0], [nan, 1, 0]]
    found = measures.vote_verdicts(answers, correct, lambda row, given: measures.majority_vote(given))
    assert found[:2, 0].tolist() == [0, 0] and math.isnan(found[2, 0])


def test_the_shortest_correct_sample_that_is_finished():
    correct = [[1, 1, 1, 0], [0, 0, 0, nan], [1, 1, 0, 0]]
    tokens = [[9, 7, 5, 1], [1, 2, 3, 4], [6, 6, 2, 2]]
    cut = [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert measures.pick_correct(correct, tokens, cut) == [1, None, 0]
    assert measures.pick_correct(correct, tokens, cut, "longest") == [0, None, 0]
    assert measures.pick_correct(correct, tokens, cut, "first") == [0, None, 0]
    assert measures.pick_correct([[0, 1, 1]], [[1, 2, 3]], [[0, 0, 0]], "longest") == [2]


def test_steps_are_lines_with_something_in_them():
    assert measures.steps("a\n\n  \nb\n") == 2
    assert measures.steps("") == 0


def test_the_yap_index_gives_each_category_the_same_weight():
    assert measures.yap_index({"a": [1, 2, 9], "b": [10, 20], "c": []}) == pytest.approx((2 + 15) / 2)
    assert measures.yap_index({"c": []}) is None


def test_the_rulers_ranges_nest_and_hold_their_targets():
    for target, (precise, flexible) in measures.RULER_RANGES.items():
        assert flexible[0] <= precise[0] < precise[1] <= flexible[1]
        assert measures.in_range(int(target.lstrip(">")) + target.startswith(">"), precise)
    limits = measures.RULER_RANGES["80"][0]
    assert [measures.in_range(n, limits) for n in (70, 71, 90, 91)] == [False, True, True, False]
    assert measures.words("It's a well-known x_1, no?") == 7  # It s a well known x_1 no


def test_at_equal_lengths_the_win_rate_stays():
    found = measures.win_rate([1, 1, 1, 0.5, 0], [5, 6, 7, 8, 9], [5, 6, 7, 8, 9])
    assert found.raw.value == pytest.approx(0.7)
    assert found.length_controlled == found.raw
    shifted = measures.win_rate([1, 0], [5, 6], [4, 5])  # always one longer: nothing tells its effect
    assert shifted.length_controlled is None


def test_the_win_rate_is_the_maximum_of_the_penalised_likelihood():
    rng = np.random.default_rng(0)
    difference, preference = rng.normal(100, 300, 80), rng.random(80)
    term = np.tanh(difference / difference.std(ddof=1))

    def loss(weights):
        logits = weights[0] + weights[1] * term
        likelihood = preference * logits - np.logaddexp(0, logits)
        return -likelihood.sum() + 0.005 * (weights**2).sum()

    constant = optimize.minimize(loss, np.zeros(2), tol=1e-12).x[0]
    found = measures.win_rate(preference, difference, np.zeros(80)).length_controlled
    assert found is not None
    assert found.value == pytest.approx(1 / (1 + math.exp(-constant)), abs=1e-6)


def test_wins_that_length_explains_are_taken_away():
    difference = np.array([100.0, 200, 300, -100, -200, -300, 50, -50])
    found = measures.win_rate(difference > 0, difference, np.zeros(8))
    assert found.raw.value == 0.5
    assert found.length_controlled is not None
    assert found.length_controlled.value == pytest.approx(0.5, abs=1e-6)  # symmetric
    always = measures.win_rate(np.ones(50), np.arange(50), np.zeros(50)).length_controlled
    assert always is not None and 0.9 < always.value <= 1  # separable, and finite
    few = measures.win_rate(np.ones(5), [3, 1, 4, 1, 5], np.zeros(5))
    assert few.raw == measures.accuracy(np.ones((5, 1))) and few.length_controlled is not None
    assert few.raw.low < 0.6 and few.length_controlled.low < 0.8, "five of five are not always"


@pytest.mark.parametrize(
    ("preferences", "lengths"), [([1.5], [1]), ([nan], [1]), ([], []), ([1, 0], [1]), ([[1]], [[1]])]
)
def test_preferences_that_make_no_sense_are_refused(preferences, lengths):
    with pytest.raises(ValueError):
        measures.win_rate(preferences, lengths, [0] * len(lengths))


POINTS = [(25.8, 0.546), (31.6, 0.896), (36.3, 0.712), (41.4, 0.890), (55.6, 0.856), (87.0, 0.830)]


@pytest.mark.parametrize(("budget", "best"), [(20, math.nan), (28, 0.6788), (34.7, 0.896), (60, 0.896)])
def test_the_best_mixture_of_controls(budget, best):
    tokens, accuracies = zip(*POINTS, strict=True)
    assert measures.mixture(tokens, accuracies, [budget])[0] == pytest.approx(best, abs=1e-4, nan_ok=True)


def four(tokens, *correct):
    return measures.Answers.of_rows(range(4), correct, [tokens] * 4)


def test_a_lead_over_controls_is_measured_at_the_models_own_tokens():
    """Two controls at 10 and 30 tokens, .25 and .75; the model's 1.0 at 20 leads the mixture's .5."""
    points = [four(10, 1, 0, 0, 0), four(30, 1, 1, 1, 0)]
    lead = measures.above_front(points, four(20, 1, 1, 1, 1))
    assert lead.value == pytest.approx(0.5) and lead.low < 0.5 <= lead.high
    assert measures.above_front(points, four(5, 1, 1, 1, 1)) is None
    assert measures.above_front(points, four(20, *[math.nan] * 4)) is None


def test_accuracy_by_length_keeps_equal_lengths_together_and_finds_the_best():
    """Lengths 10, 20, 30 with accuracies .5, 1, .25; the two that the cap cut are left out."""
    tokens = np.repeat([[10, 20, 30]], 40, axis=0)
    correct = np.stack([np.arange(40) % 2 == 0, np.ones(40), np.arange(40) % 4 == 0], axis=1).astype(float)
    cut = np.zeros((40, 3))
    found = measures.by_length(correct, tokens, cut)
    assert [(b["tokens"], b["completions"], b["accuracy"]) for b in found["bins"]] == [
        (10, 40, 0.5), (20, 40, 1.0), (30, 40, 0.25),
    ]  # fmt: skip
    assert (found["optimum"], found["optimum_ci95"], found["shape"]) == (20, [20, 20], "peak")
    assert found["gain"] == pytest.approx(1 - 70 / 120) and found["left_out"] == 0
    assert sum(b["within"] for b in found["bins"]) == pytest.approx(0)
    falling = measures.by_length(correct[:, 1:], tokens[:, 1:], cut[:, 1:])
    assert falling["shape"] == "falling" and len(falling["bins"]) == 2
    cut[:2, 0] = 1
    fewer = measures.by_length(correct, tokens, cut)
    assert fewer["left_out"] == 2 and [b["completions"] for b in fewer["bins"]] == [78, 40]
    assert measures.by_length(correct[:10], tokens[:10], cut[:10]) is None


def test_what_length_does_at_a_fixed_problem():
    """A problem that is long and always right says nothing; in the other wrong completions are twice as long."""
    tokens, correct = [[100, 200, 100, 200], [900, 950, 980, 990]], [[1, 0, 1, 0], [1, 1, 1, 1]]
    found = measures.at_fixed_problem(correct, tokens)
    assert found["icr"].value == 2 and found["r_length"].value == pytest.approx(-1)
    assert measures.at_fixed_problem([[1, 1]], [[1, 2]]) == {"r_length": None, "icr": None}
