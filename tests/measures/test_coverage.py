"""95 % intervals against simulated models whose accuracies and lengths are known: 1,000 evaluations each."""

import math

import numpy as np
import pytest

from lenrl import measures
from lenrl.measures import frontier, length_curve, paired, winrate

TIMES = 1000


def covers(evaluate, truth, seed):
    """Share of simulated evaluations whose interval holds the truth."""
    rng = np.random.default_rng(seed)
    found = [evaluate(rng) for _ in range(TIMES)]
    return sum(estimate.low <= truth <= estimate.high for estimate in found) / TIMES


def holds(share):
    return 0.93 <= share <= 0.97


@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize(("accuracy", "alike"), [(0.5, 1), (0.9, 4), (0.97, 1), (0.9, None)])
def test_accuracy_of_prompts_of_different_difficulty(accuracy, alike, samples):
    """`alike`: the lower, the more samples of a prompt agree (Beta-distributed chances); None: independent."""

    def evaluate(rng):
        beta = alike and rng.beta(alike * accuracy, alike * (1 - accuracy), (200, 1))
        return measures.accuracy(rng.random((200, samples)) < (beta if alike else accuracy))

    assert holds(covers(evaluate, accuracy, 1))


def lengths(rng, prompts, samples, spread=0.8):
    return rng.lognormal(5, spread, (prompts, 1)) * rng.lognormal(0, 0.4, (prompts, samples))


@pytest.mark.parametrize("samples", [1, 8])
def test_mean_tokens_of_skewed_lengths(samples):
    truth = math.exp(5 + 0.8**2 / 2 + 0.4**2 / 2)
    assert holds(covers(lambda rng: measures.mean_tokens(lengths(rng, 100, samples)), truth, 2))


@pytest.mark.parametrize(("accuracy", "longest"), [(0.7, 400), (0.95, 100)])
def test_area_within_a_budget(accuracy, longest):
    """Lengths are uniform up to `longest`, the budget is 200 tokens."""

    def evaluate(rng):
        shape = (120, 2)
        return measures.area_within(
            rng.random(shape) < accuracy, rng.uniform(0, longest, shape), np.zeros(shape), 200
        )

    mean_left = 1 - longest / 400 if longest <= 200 else 100 / longest
    assert holds(covers(evaluate, accuracy * mean_left, 3))


@pytest.mark.parametrize("samples", [1, 8])
def test_paired_differences(samples, monkeypatch):
    """Both models find the same prompts hard and long; the second is 8 points worse and takes 0.4 the tokens."""
    monkeypatch.setattr(paired, "RESAMPLES", 500)
    found = []

    def evaluate(rng):
        chance, long = rng.beta(1.6, 0.4, (150, 1)), rng.lognormal(4, 0.5, (150, 1))
        shape = (150, samples)
        right0, right = rng.random(shape) < chance, rng.random(shape) < 0.9 * chance
        tokens0, tokens = long * rng.lognormal(0, 0.3, shape), long * rng.lognormal(0, 0.3, shape)
        found.append(measures.compare(right0, tokens0, right, tokens * rng.uniform(0.3, 0.5, (150, 1))))
        return found[-1].accuracy_diff

    assert holds(covers(evaluate, -0.08, 3))
    assert holds(sum(pair.tokens_ratio.low <= 0.4 <= pair.tokens_ratio.high for pair in found) / TIMES)


@pytest.mark.slow
def test_length_controlled_win_rate(monkeypatch):
    """A judge that likes length: its preference at equal lengths is found all the same."""
    monkeypatch.setattr(winrate, "RESAMPLES", 400)

    def evaluate(rng):
        difference = rng.normal(200, 400, 150)
        preferred = rng.random(150) < 1 / (1 + np.exp(-0.3 - 1.2 * np.tanh(difference / 400)))
        return measures.win_rate(preferred, difference, np.zeros(150)).length_controlled

    assert holds(covers(evaluate, 1 / (1 + math.exp(-0.3)), 4))


@pytest.mark.parametrize(
    ("alike", "samples"),
    [
        (False, 1),
        pytest.param(False, 8, marks=[pytest.mark.slow, pytest.mark.long]),
        pytest.param(True, 8, marks=[pytest.mark.slow, pytest.mark.long]),
    ],
)
def test_lead_over_controls(alike, samples, monkeypatch):
    """Controls of .3 at 20 tokens and .6 at 40, and between them .2 or, `alike`, two of .45; the model: .7 at 30.

    Where several controls are nearly alike, the best of them is too good by chance, and the lead too small.
    """
    monkeypatch.setattr(frontier, "RESAMPLES", 400)

    def evaluate(rng):
        hard = rng.normal(0, 0.2, (150, 1))

        def point(accuracy, tokens):
            right = rng.random((150, samples)) < np.clip(accuracy + hard, 0, 1)
            lengths = tokens * rng.lognormal(-0.045, 0.3, (150, samples))
            return measures.Answers(range(150), right.astype(float), lengths, np.zeros_like(lengths))

        middle = [point(0.45, 30), point(0.45, 31)] if alike else [point(0.2, 30)]
        return measures.above_front([point(0.3, 20), *middle, point(0.6, 40)], point(0.7, 30))

    hard = np.random.default_rng(6).normal(0, 0.2, 1_000_000)
    low, high, own = (np.clip(accuracy + hard, 0, 1).mean() for accuracy in (0.3, 0.6, 0.7))
    truth, rng = own - (low + high) / 2, np.random.default_rng(5)
    found = [evaluate(rng) for _ in range(TIMES)]
    above = sum(estimate.low > truth for estimate in found) / TIMES
    inside = sum(estimate.low <= truth <= estimate.high for estimate in found) / TIMES
    assert (above < 0.02 and inside > 0.88) if alike else holds(inside)


@pytest.mark.long
@pytest.mark.slow
def test_length_at_a_fixed_problem(monkeypatch):
    """Wrong completions are 1.25 times as long; what the correlation is follows from a million prompts."""
    monkeypatch.setattr(length_curve, "RESAMPLES", 400)

    def draw(rng, prompts):
        right = rng.random((prompts, 8)) < rng.beta(2, 2, (prompts, 1))
        return right, lengths(rng, prompts, 8, 0.5) * np.where(right, 1, 1.25)

    truth = {
        k: e.value for k, e in measures.at_fixed_problem(*draw(np.random.default_rng(1), 20_000)).items()
    }
    rng = np.random.default_rng(2)
    found = [measures.at_fixed_problem(*draw(rng, 150)) for _ in range(TIMES)]
    for name, value in truth.items():
        inside = sum(each[name].low <= value <= each[name].high for each in found) / TIMES
        assert 0.92 <= inside <= 0.97, (name, inside)
