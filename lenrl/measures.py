"""What is measured of completions, and how sure one can be of it.

Axes: P prompts, S samples of one prompt. Verdicts are 1, 0 or NaN (unknown); tokens count the
end-of-text token.
All intervals are 95 % intervals over prompts: they speak of new problems of the same kind, not of new
samples of the same problems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
RESAMPLES = 4000
AES_RISE = 3.0  # weight of a relative gain of accuracy in the AES
AES_FALL = 5.0  # weight of a relative loss; papers differ (10 in DRPO's)

Array = NDArray[np.float64]


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
    correct_PS = _table(correct_PS)
    means_P, samples = _prompt_means(correct_PS)
    P = len(means_P)
    if P == 0:
        return None
    p = float(means_P.mean())
    trials = float(P)
    if P > 1 and samples > 1 and 0 < p < 1:
        variance = float(means_P.var(ddof=1)) / P
        trials = min(P * samples, p * (1 - p) / variance) if variance > 0 else P * samples
        trials = max(trials, float(P))
    q2 = _quantile(P) ** 2
    middle = (p + q2 / (2 * trials)) / (1 + q2 / trials)
    half = math.sqrt(q2 * (p * (1 - p) / trials + q2 / (4 * trials**2))) / (1 + q2 / trials)
    return Estimate(p, min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)))


def mean_tokens(tokens_PS: ArrayLike) -> Estimate:
    """Mean tokens; the interval over prompt means is Hall's, a t interval corrected for skewness.

    Lengths are skewed to the right, where the plain t interval misses too often on one side.
    Source: Hall, On the removal of skewness by transformation, JRSS B 54 (1992), 221-228.
    """
    means_P = _table(tokens_PS).mean(axis=1)
    P, mean = len(means_P), float(means_P.mean())
    sd = float(means_P.std(ddof=1)) if P > 1 else math.nan
    if P == 1 or sd <= 1e-12 * max(1.0, abs(mean)):
        return Estimate(mean, mean, mean) if P > 1 else Estimate(mean, 0.0, math.inf)
    quantile, error = _quantile(P), sd / math.sqrt(P)
    skew = float(stats.skew(means_P, bias=False)) / math.sqrt(P) if P > 2 else 0.0
    if abs(skew) < 1e-6:
        return Estimate(mean, max(0.0, mean - quantile * error), mean + quantile * error)
    low, high = (3 / skew * (np.cbrt(1 + skew * (z - skew / 6)) - 1) for z in (quantile, -quantile))
    return Estimate(mean, max(0.0, mean - float(low) * error), mean - float(high) * error)


@dataclass(frozen=True)
class Comparison:
    """A model against a base on the same prompts."""

    accuracy_diff: Estimate | None  # model minus base, shares; None: no prompt with both verdicts known
    tokens_ratio: Estimate  # model over base
    aes: float | None  # None: the base is never right, or no verdict is known


def compare(
    correct0_PS: ArrayLike, tokens0_PS: ArrayLike, correct_PS: ArrayLike, tokens_PS: ArrayLike, seed: int = 0
) -> Comparison:
    """Paired comparison: prompts are resampled, both models' rows of a prompt stay together.

    The accuracy difference is the mean over the prompts that both have a known verdict of. Its bootstrap
    includes one pseudo-prompt won and one lost, together worth one discordant sample (after Agresti and Min,
    2005): without them, two models that agree on all prompts would be declared equal with certainty.

    Args:
        correct0_PS, tokens0_PS: the base's verdicts and tokens, (P, S).
        correct_PS, tokens_PS: the model's; same prompts in the same order, S may differ.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    base, model = _table(tokens0_PS).mean(axis=1), _table(tokens_PS).mean(axis=1)
    if len(base) != len(model):
        raise ValueError(
            f"{len(base)} prompts against {len(model)}: a paired comparison needs the same prompts"
        )
    ratios = _resampled(rng, model) / _resampled(np.random.default_rng(seed), base)
    low, high = np.percentile(ratios, [2.5, 97.5])
    ratio = Estimate(float(model.mean() / base.mean()), float(low), float(high))
    return Comparison(
        accuracy_diff=_accuracy_difference(_table(correct0_PS), _table(correct_PS), rng),
        tokens_ratio=ratio,
        aes=aes(_share(correct0_PS), _share(correct_PS), float(base.mean()), float(model.mean())),
    )


def aes(
    base_accuracy: float | None,
    model_accuracy: float | None,
    base_tokens: float,
    model_tokens: float,
    *,
    rise: float = AES_RISE,
    fall: float = AES_FALL,
) -> float | None:
    """Accuracy-efficiency score: the tokens' relative saving, plus `rise` times the relative gain of accuracy
    or minus `fall` times its relative loss. None if the base's accuracy is 0 or unknown.

    >>> aes(0.8, 0.8, 100, 60), round(aes(0.8, 0.72, 100, 60), 6), round(aes(0.8, 0.88, 100, 60), 6)
    (0.4, -0.1, 0.7)
    """
    if not base_accuracy or model_accuracy is None or base_tokens <= 0:
        return None
    saved = (base_tokens - model_tokens) / base_tokens
    gain = (model_accuracy - base_accuracy) / base_accuracy
    return saved + (rise if gain > 0 else fall) * gain


def pass_at_k(correct_PS: ArrayLike, k: int) -> float | None:
    """Mean over prompts of `1 - C(n-c, k)/C(n, k)`, n known verdicts of which c are correct.

    Prompts with fewer than k known verdicts are left out; None if that leaves none.

    >>> round(pass_at_k([[1, 0, 0, 0], [0, 0, 0, 0]], 2), 6)
    0.25
    """
    if k < 1:
        raise ValueError(f"k={k} is below 1")
    found = []
    for row in _table(correct_PS):
        known = row[~np.isnan(row)]
        n, c = len(known), int(known.sum())
        if n >= k:
            found.append(1 - math.comb(n - c, k) / math.comb(n, k))
    return float(np.mean(found)) if found else None


def tokens_by_verdict(correct_PS: ArrayLike, tokens_PS: ArrayLike) -> dict[str, float | None]:
    """Mean tokens of the correct and of the wrong completions, and tokens spent for each correct answer.

    None where there is no such completion: with nothing correct the cost of an answer is undefined.
    """
    correct, tokens = _table(correct_PS), _table(tokens_PS)
    right, wrong = tokens[correct == 1], tokens[correct == 0]
    return {
        "tokens_correct": float(right.mean()) if right.size else None,
        "tokens_wrong": float(wrong.mean()) if wrong.size else None,
        "tokens_per_correct": float((right.sum() + wrong.sum()) / right.size) if right.size else None,
    }


def percentile(tokens_PS: ArrayLike, percent: float) -> float:
    """Percentile of all completions' tokens, linear interpolation."""
    return float(np.percentile(_table(tokens_PS), percent))


def _share(correct_PS: ArrayLike) -> float | None:
    found = accuracy(correct_PS)
    return None if found is None else found.value


def _table(values: ArrayLike) -> Array:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"shape {table.shape}, expected (prompts, samples) with at least one sample")
    return table


def _prompt_means(correct_PS: Array) -> tuple[Array, float]:
    """Mean of the known verdicts of each prompt that has any, and how many verdicts those have on average."""
    known_PS = ~np.isnan(correct_PS)
    known_P = known_PS.sum(axis=1)
    has = known_P > 0
    sums = np.where(known_PS, correct_PS, 0.0).sum(axis=1)
    return sums[has] / known_P[has], float(known_P[has].mean()) if has.any() else 0.0


def _quantile(P: int) -> float:
    """Student's quantile for P prompts; two prompts or fewer would make it useless, hence the floor."""
    return float(stats.t.ppf((1 + LEVEL) / 2, max(P - 1, 2)))


def _accuracy_difference(base_PS: Array, model_PS: Array, rng: np.random.Generator) -> Estimate | None:
    known = ~np.isnan(base_PS).all(axis=1) & ~np.isnan(model_PS).all(axis=1)
    if not known.any():
        return None
    base, _ = _prompt_means(base_PS[known])
    model, samples = _prompt_means(model_PS[known])
    diff = model - base
    pseudo = math.sqrt(0.5 / samples)
    means = _resampled(rng, np.concatenate([diff, [pseudo, -pseudo]]))
    low, high = np.percentile(means, [2.5, 97.5])
    value = float(diff.mean())
    return Estimate(value, max(-1.0, min(value, float(low))), min(1.0, max(value, float(high))))


def _resampled(rng: np.random.Generator, values_P: Array) -> Array:
    """Means of `RESAMPLES` bootstrap samples; in blocks, so that memory stays small with many prompts."""
    P = len(values_P)
    block = max(1, 2_000_000 // P)
    parts = [
        values_P[rng.integers(0, P, (min(block, RESAMPLES - done), P))].mean(axis=1)
        for done in range(0, RESAMPLES, block)
    ]
    return np.concatenate(parts)
