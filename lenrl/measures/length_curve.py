"""Accuracy by length: bins, the best one, and what length does at a fixed problem.

After "When More is Less" (arXiv 2502.07266), which bins lines and drops problems that are all right or all wrong.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import Array, resample_weights, table
from lenrl.measures.intervals import Estimate, of_resamples

RESAMPLES = 1000
LEAST_SAMPLES = 4  # a prompt; with fewer nothing can be said at a fixed problem
LEAST = 40  # completions a bin
MOST_BINS = 8
SURE = 0.95  # share of resamples in which a shape shows


def by_length(
    correct_PS: ArrayLike, tokens_PS: ArrayLike, truncated_PS: ArrayLike, seed: int = 0
) -> dict[str, Any] | None:
    """Bins of equal counts by tokens, with accuracy; the best bin; the curve's shape; plain values.

    Completions that the cap cut are left out (the last bin would be wrong for it), unknown verdicts too. Equal lengths
    stay in one bin. Intervals are bootstraps over prompts, all computed anew in each.

    Returns:
        None with too few completions for two bins.
    """
    correct, tokens = table(correct_PS), table(tokens_PS)
    used_PS = ~np.isnan(correct) & (table(truncated_PS) == 0)
    edges = _edges(tokens[used_PS])
    if len(edges) < 2:
        return None
    P = len(correct)
    bin_PS = np.searchsorted(edges, tokens)  # number of the bin whose last length is not below
    member_PSB = (bin_PS[..., None] == np.arange(len(edges))) & used_PS[..., None]
    right_PS = np.where(used_PS, correct, 0.0)
    count_PB, right_PB = member_PSB.sum(1), (member_PSB * right_PS[..., None]).sum(1)
    mean_P1 = right_PS.sum(1, keepdims=True) / np.maximum(used_PS.sum(1, keepdims=True), 1)
    within_B = (member_PSB * (right_PS - mean_P1)[..., None]).sum((0, 1)) / count_PB.sum(0)
    weight_RP = resample_weights(P, np.random.default_rng(seed), RESAMPLES)
    accuracy_RB = (weight_RP @ right_PB) / np.maximum(weight_RP @ count_PB, 1)
    median_B = [float(np.median(tokens[member_PSB[..., b]])) for b in range(len(edges))]
    ci95_B2 = np.percentile(accuracy_RB[1:], [2.5, 97.5], axis=0).T
    best, best_R = int(accuracy_RB[0].argmax()), accuracy_RB[1:].argmax(1)
    return {
        "bins": [
            {
                "tokens": median_B[b],
                "completions": int(count_PB[:, b].sum()),
                "prompts": int((count_PB[:, b] > 0).sum()),
                "accuracy": float(accuracy_RB[0, b]),
                "accuracy_ci95": ci95_B2[b].tolist(),
                "within": float(within_B[b]),
            }
            for b in range(len(edges))
        ],
        "optimum": median_B[best],
        "optimum_ci95": np.percentile(np.take(median_B, best_R), [2.5, 97.5]).tolist(),
        "gain": float(accuracy_RB[0, best] - right_PS.sum() / used_PS.sum()),
        "shape": _shape(accuracy_RB[1:], best),
        "left_out": int((~used_PS).sum()),
    }


def at_fixed_problem(
    correct_PS: ArrayLike, tokens_PS: ArrayLike, seed: int = 0
) -> Mapping[str, Estimate | None]:
    """`r_length`: correlation of tokens and verdict within prompts; `icr`: tokens of wrong over right completions.

    Of prompts with right and wrong completions; `icr` averages both within these. None: there is no such prompt. Any
    other values may take the tokens' place, NaN where a completion has none.
    """
    correct, tokens = table(correct_PS), table(tokens_PS)
    known_PS: np.ndarray = ~np.isnan(correct) & ~np.isnan(tokens)
    tokens = np.where(known_PS, tokens, 0.0)
    right_PS, wrong_PS = (correct == 1) & known_PS, (correct == 0) & known_PS
    mixed_P = right_PS.any(1) & wrong_PS.any(1)
    if not mixed_P.any():
        return {"r_length": None, "icr": None}
    known_PS, right_PS, wrong_PS = known_PS[mixed_P], right_PS[mixed_P], wrong_PS[mixed_P]
    tokens, P = tokens[mixed_P], int(mixed_P.sum())
    x_PS, y_PS = (_centred(values, known_PS) for values in (tokens, right_PS.astype(float)))
    sums_P5 = np.stack(
        [
            (x_PS * y_PS).sum(1),
            (x_PS**2).sum(1),
            (y_PS**2).sum(1),
            (tokens * wrong_PS).sum(1) / wrong_PS.sum(1),
            (tokens * right_PS).sum(1) / right_PS.sum(1),
        ],
        axis=1,
    )
    xy, xx, yy, wrong, right = (resample_weights(P, np.random.default_rng(seed), RESAMPLES) @ sums_P5).T
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample of equal values; no value above 0
        correlation = of_resamples(xy / np.sqrt(xx * yy)) if xx[0] > 0 else None
        return {"r_length": correlation, "icr": of_resamples(wrong / right) if right[0] > 0 else None}


def _edges(tokens_N: Array) -> list[float]:
    """The last length of each bin."""
    lengths, counts = np.unique(tokens_N, return_counts=True)
    size = max(LEAST, len(tokens_N) / MOST_BINS)
    edges, filled = list[float](), 0
    for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
        filled += count
        if filled >= size:
            edges.append(length)
            filled = 0
    if filled and edges:  # a rest with too few goes to the last bin
        if filled < LEAST:
            edges.pop()
        edges.append(float(lengths[-1]))
    return edges


def _shape(accuracy_RB: Array, best: int) -> str:
    """`peak`, `rising`, `falling` or `flat`, by which ends the best bin surely lies above."""
    above = [(accuracy_RB[:, best] > accuracy_RB[:, end]).mean() >= SURE for end in (0, -1)]
    return {(True, True): "peak", (True, False): "rising", (False, True): "falling"}.get(
        (bool(above[0]), bool(above[1])), "flat"
    )


def _centred(values_PS: Array, known_PS: Array) -> Array:
    """Known values minus their prompt's mean, 0 elsewhere."""
    mean_P1 = (values_PS * known_PS).sum(1, keepdims=True) / known_PS.sum(1, keepdims=True)
    return np.where(known_PS, values_PS - mean_P1, 0.0)
