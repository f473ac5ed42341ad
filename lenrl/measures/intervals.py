"""Accuracy and mean length of one model, with their intervals."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import Array, prompt_means, quantile, table


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def ci95(self) -> list[float]:
        return [self.low, self.high]


def accuracy(correct_PS: ArrayLike) -> Estimate | None:
    """Mean over prompts of the share of correct among known verdicts (avg@n); None if no verdict is known.

    Wilson's interval with the effective number of independent trials: between P (samples of a prompt agree
    always) and P*S (they are independent), from the variance between prompts; Student's quantile. With one
    sample a prompt it is the Wilson interval, which stays right near 0 and 1.

    >>> accuracy([[1.0], [1.0], [0.0], [1.0]]).value
    0.75
    """
    means_P, samples = prompt_means(table(correct_PS))
    P = len(means_P)
    if P == 0:
        return None
    p = float(means_P.mean())
    trials = float(P)
    if P > 1 and samples > 1 and 0 < p < 1:
        variance = float(means_P.var(ddof=1)) / P
        trials = min(P * samples, p * (1 - p) / variance) if variance > 0 else P * samples
        trials = max(trials, float(P))
    q2 = quantile(P) ** 2
    middle = (p + q2 / (2 * trials)) / (1 + q2 / trials)
    half = math.sqrt(q2 * (p * (1 - p) / trials + q2 / (4 * trials**2))) / (1 + q2 / trials)
    return Estimate(p, min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)))


def mean_tokens(tokens_PS: ArrayLike) -> Estimate:
    """Mean tokens, with the interval of `mean_interval` over the prompts' means."""
    return mean_interval(table(tokens_PS).mean(axis=1))


def mean_share(values_P: ArrayLike) -> Estimate:
    """Mean of values from 0 to 1, with a t interval that is clipped to these."""
    values = np.asarray(values_P, dtype=np.float64)
    mean = float(values.mean())
    half = (
        quantile(len(values)) * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 1.0
    )
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half))


def mean_interval(means_P: Array) -> Estimate:
    """Mean of values that are 0 or above; the interval is Hall's, a t interval corrected for skewness.

    Lengths are skewed to the right, where the plain t interval misses too often on one side.
    Source: Hall, On the removal of skewness by transformation, JRSS B 54 (1992), 221-228.
    """
    from scipy import stats  # half a second, where intervals are asked for only

    P, mean = len(means_P), float(means_P.mean())
    sd = float(means_P.std(ddof=1)) if P > 1 else math.nan
    if P == 1 or sd <= 1e-12 * max(1.0, abs(mean)):
        return Estimate(mean, mean, mean) if P > 1 else Estimate(mean, 0.0, math.inf)
    t, error = quantile(P), sd / math.sqrt(P)
    skew = float(stats.skew(means_P, bias=False)) / math.sqrt(P) if P > 2 else 0.0
    if abs(skew) < 1e-6:
        return Estimate(mean, max(0.0, mean - t * error), mean + t * error)
    low, high = (3 / skew * (np.cbrt(1 + skew * (z - skew / 6)) - 1) for z in (t, -t))
    return Estimate(mean, max(0.0, mean - float(low) * error), mean - float(high) * error)


def of_resamples(values_R: Array) -> Estimate:
    """The first value, with the interval of the others, which are those of bootstrap samples."""
    value, (low, high) = float(values_R[0]), np.nanpercentile(values_R[1:], [2.5, 97.5])
    return Estimate(value, min(value, float(low)), max(value, float(high)))
