"""A model against a base on the same prompts."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import LEVEL, Array, prompt_means, resample_weights, table
from lenrl.measures.intervals import Estimate, accuracy, of_resamples

RESAMPLES = 4000
AES_RISE = 3.0  # weight of a relative gain of accuracy in the AES
AES_FALL = 5.0  # weight of a relative loss; papers differ (10 in DRPO's)


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

    Args:
        correct0_PS, tokens0_PS: the base's verdicts and tokens, (P, S).
        correct_PS, tokens_PS: the model's; same prompts in the same order, S may differ.
    """
    rng = np.random.default_rng(seed)
    base, model = table(tokens0_PS).mean(axis=1), table(tokens_PS).mean(axis=1)
    if len(base) != len(model):
        raise ValueError(
            f"{len(base)} prompts against {len(model)}: a paired comparison needs the same prompts"
        )
    model_R, base_R = _resampled(rng, model, base)
    ratios = model_R / base_R
    # One prompt tells no interval.
    low, high = np.percentile(ratios, [2.5, 97.5]) if len(base) > 1 else (0.0, math.inf)
    ratio = Estimate(float(model.mean() / base.mean()), float(low), float(high))
    before, after = (a and a.value for a in (accuracy(correct0_PS), accuracy(correct_PS)))
    return Comparison(
        accuracy_diff=accuracy_difference(table(correct0_PS), table(correct_PS), rng),
        tokens_ratio=ratio,
        aes=aes(before, after, float(base.mean()), float(model.mean())),
    )


def accuracy_difference(
    base_PS: Array, model_PS: Array, rng: np.random.Generator, level: float = LEVEL
) -> Estimate | None:
    """Mean difference, model minus base, over the prompts that both have a known verdict of; None: there are none.

    Its bootstrap includes one pseudo-prompt won and one lost, together worth one discordant sample (after Agresti
    and Min, 2005): without them, two models that agree on all prompts would be declared equal with certainty.

    Args:
        base_PS, model_PS: verdicts, (P, S), of the same prompts in the same order.
        level: of the interval, a share.
    """
    both = resampled_difference(base_PS, model_PS, rng)
    if both is None:
        return None
    value, means_R = both
    tail = 50 * (1 - level)
    low, high = np.percentile(means_R, [tail, 100 - tail])
    return Estimate(value, max(-1.0, min(value, float(low))), min(1.0, max(value, float(high))))


def resampled_difference(
    base_PS: Array, model_PS: Array, rng: np.random.Generator
) -> tuple[float, Array] | None:
    """The difference of `accuracy_difference`, and those of its bootstrap samples."""
    if len(base_PS) != len(model_PS):
        raise ValueError(
            f"{len(base_PS)} prompts against {len(model_PS)}: a paired comparison needs the same prompts"
        )
    base, model, samples = _both_known(base_PS, model_PS)
    if not len(base):
        return None
    diff = model - base
    pseudo = math.sqrt(0.5 / samples)
    [means_R] = _resampled(rng, np.concatenate([diff, [pseudo, -pseudo]]))
    return float(diff.mean()), means_R


def ratio(base_PS: Array, model_PS: Array, rng: np.random.Generator) -> Estimate | None:
    """Mean of the model's over the base's, of prompts that both have a known value of; None: the base's is 0."""
    base, model, _ = _both_known(base_PS, model_PS)
    if not base.any():
        return None
    weight_RP = resample_weights(len(base), rng, RESAMPLES)
    model_R, base_R = weight_RP @ model, weight_RP @ base
    found = of_resamples(model_R / np.maximum(base_R, 1e-12))
    endless = ((base_R == 0) & (model_R > 0)).mean() >= (1 - LEVEL) / 2
    return replace(found, high=math.inf) if endless else found


def _both_known(base_PS: Array, model_PS: Array) -> tuple[Array, Array, float]:
    """Means (P,) of the prompts that both have known values of, and how many of those the model has of each."""
    known = ~np.isnan(base_PS).all(axis=1) & ~np.isnan(model_PS).all(axis=1)
    return prompt_means(base_PS[known])[0], *prompt_means(model_PS[known])


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


def _resampled(rng: np.random.Generator, *several_P: Array) -> list[Array]:
    """Means of each in the same `RESAMPLES` bootstrap samples; in blocks: memory stays small with many prompts."""
    P = len(several_P[0])
    block = max(1, 2_000_000 // P)
    drawn = (rng.integers(0, P, (min(block, RESAMPLES - done), P)) for done in range(0, RESAMPLES, block))
    parts = [[values_P[rows].mean(axis=1) for values_P in several_P] for rows in drawn]
    return [np.concatenate(means) for means in zip(*parts, strict=True)]
