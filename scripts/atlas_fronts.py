"""Fronts of accuracy and tokens, with intervals: the most that mixtures of a method's points reach.

One of the points is not to answer at all: 0 tokens, never right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from atlas_points import Array, Point

from lenrl.measures import Estimate
from lenrl.measures.arrays import resample_weights

RESAMPLES = 2000


def front(points_K2: Array) -> tuple[Array, Array]:
    """Tokens and accuracies of the corners of the front, from (0, 0) to the most accurate point.

    >>> front(np.array([[0.6, 30], [0.5, 40], [0.7, 90], [0.1, 20]]))
    (array([ 0., 30., 90.]), array([0. , 0.6, 0.7]))
    """
    corners: list[tuple[float, float]] = [(0.0, 0.0)]
    for right, tokens in sorted(points_K2.tolist(), key=lambda pair: (pair[1], -pair[0])):
        if right <= corners[-1][1]:
            continue
        while len(corners) > 1 and _above(corners[-2], (tokens, right), corners[-1]):
            corners.pop()
        corners.append((tokens, right))
    return np.array([t for t, _ in corners]), np.array([a for _, a in corners])


def _above(left: tuple[float, float], right: tuple[float, float], middle: tuple[float, float]) -> bool:
    """Whether the chord from left to right passes above the middle, or through it."""
    return (right[1] - left[1]) * (middle[0] - left[0]) >= (middle[1] - left[1]) * (right[0] - left[0])


@dataclass(frozen=True)
class Measures:
    """Of a front, against one point: its mean height, and its lead at equal tokens and at equal accuracy."""

    area: float  # mean accuracy within budgets from 0 to the other one's tokens
    lead: float  # accuracy at the other one's tokens, minus its accuracy
    tokens_ratio: float  # tokens at the other one's accuracy, over its tokens; infinite: not reached

    @classmethod
    def of(cls, points_K2: Array, other_2: Array, area_to: float) -> Measures:
        tokens, right = front(points_K2)
        grid = np.linspace(0, area_to, 201)
        reached = float(np.interp(other_2[0], right, tokens)) if right[-1] >= other_2[0] else float("inf")
        return cls(
            float(np.trapezoid(np.interp(grid, tokens, right), grid) / area_to),
            float(np.interp(other_2[1], tokens, right) - other_2[0]),
            reached / float(other_2[1]),
        )


def measured(found: Sequence[Point], other: Point) -> dict[str, Estimate]:
    """`Measures` with intervals: problems are resampled."""
    means_RK2, other_R2 = resampled(found), resampled([other])[:, 0]
    value, *each = _each(means_RK2, other_R2)
    return {name: _estimate(name, each, getattr(value, name)) for name in Measures.__dataclass_fields__}


def by_chance(spare: Sequence[Point], other: Point, places: int) -> dict[str, Estimate]:
    """`Measures` of a method that is the other one: its places are drawn from runs of the other one, and problems.

    Each place has as many runs as the other point has seeds. The value is the median of the draws.
    """
    runs_RK2, other_R2 = resampled(spare), resampled([other])[:, 0]
    rng = np.random.default_rng(1)
    drawn_RKS = rng.integers(len(spare), size=(len(runs_RK2), places, len(other.seeds)))
    means_RK2 = np.stack(
        [run_K2[draw_KS].mean(axis=1) for run_K2, draw_KS in zip(runs_RK2, drawn_RKS, strict=True)]
    )
    _, *each = _each(means_RK2, other_R2)
    return {name: _estimate(name, each) for name in Measures.__dataclass_fields__}


def resampled(found: Sequence[Point]) -> Array:
    """Accuracy and tokens of K points, of all problems first, then of each resample; (1 + R, K, 2)."""
    means_PK2 = np.stack([one.means_P2 for one in found], axis=1)
    P = len(means_PK2)
    share_RP = resample_weights(P, np.random.default_rng(0), RESAMPLES) / P
    return np.einsum("rp,pkc->rkc", share_RP, means_PK2)


def _each(means_RK2: Array, other_R2: Array) -> list[Measures]:
    area_to = float(other_R2[0, 1])
    return [
        Measures.of(means_K2, other_2, area_to) for means_K2, other_2 in zip(means_RK2, other_R2, strict=True)
    ]


def _estimate(name: str, each: Sequence[Measures], value: float | None = None) -> Estimate:
    low, middle, high = np.percentile([getattr(one, name) for one in each], [2.5, 50, 97.5], method="nearest")
    return Estimate(float(middle) if value is None else value, float(low), float(high))
