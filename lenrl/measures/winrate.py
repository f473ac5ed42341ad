"""Shares of a model's answers that a judge prefers, also if they were as long as the other's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import resample_weights
from lenrl.measures.intervals import Estimate, accuracy, of_resamples
from lenrl.measures.logistic import coefficients

RESAMPLES = 1000


@dataclass(frozen=True)
class WinRate:
    """Shares of answers that are preferred; 95 % intervals over prompts."""

    raw: Estimate
    length_controlled: Estimate | None  # None: all differences of length are one, its effect can't be told


def win_rate(preference_P: ArrayLike, length_P: ArrayLike, other_P: ArrayLike, seed: int = 0) -> WinRate:
    """Win rate, and the win rate at equal lengths.

    A logistic model of the preference on a constant and `tanh(d / sd(d))`, d the difference of lengths; the
    length-controlled rate is what it predicts for d = 0. Fitted by ridge-penalised maximum likelihood. After
    Dubois et al., arXiv 2404.04475, without their terms that need AlpacaEval's own data: the difficulty of
    each of its instructions and the deliberately long and short baselines. Its bootstrap includes one pseudo-answer
    won and one lost at equal lengths: without them, a model that always wins would be certain to. The raw rate's
    interval is that of `accuracy`.

    Args:
        preference_P: in [0, 1], 1: the model's answer is preferred.
        length_P, other_P: lengths of the model's and of the other's answers, in one unit.
    """
    preference = np.asarray(preference_P, dtype=np.float64)
    difference = np.asarray(length_P, dtype=np.float64) - np.asarray(other_P, dtype=np.float64)
    if preference.ndim != 1 or preference.shape != difference.shape or not len(preference):
        raise ValueError(
            f"shapes {preference.shape} and {difference.shape}: expected one row each and the same"
        )
    if not ((preference >= 0) & (preference <= 1)).all():
        raise ValueError("a preference is outside [0, 1]; 1 means that the model's answer is preferred")
    P = len(preference)
    sd = float(difference.std(ddof=1)) if P > 1 else 0.0
    raw = accuracy(preference[:, None])
    assert raw is not None  # all are known
    if sd == 0:
        return WinRate(raw, None if difference[0] else raw)
    design = np.stack([np.ones(P), np.tanh(difference / sd)], axis=1)
    counts = resample_weights(P + 2, np.random.default_rng(seed), RESAMPLES)[1:]
    pseudo = np.append(preference, [1.0, 0.0]), np.vstack([design, [[1.0, 0.0]] * 2])
    constants = np.vstack([coefficients(np.ones((1, P)), preference, design), coefficients(counts, *pseudo)])
    return WinRate(raw, of_resamples(1 / (1 + np.exp(-constants[:, 0]))))
