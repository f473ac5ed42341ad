"""Accuracy against tokens: within a budget, over all budgets up to one, and between models."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import Array, prompt_means, table
from lenrl.measures.intervals import Estimate, accuracy, mean_interval


def accuracy_within(
    correct_PS: ArrayLike, tokens_PS: ArrayLike, truncated_PS: ArrayLike, budget: float
) -> Estimate | None:
    """Accuracy if only answers finished within `budget` tokens count; None if no verdict is known.

    A truncated completion is never finished. What the model would write if it knew of the budget is
    another question: this one is answered by the completions as they are.

    >>> accuracy_within([[1], [1]], [[10], [30]], [[0], [0]], 20).value
    0.5
    """
    return accuracy(right_within(correct_PS, tokens_PS, truncated_PS, budget))


def right_within(
    correct_PS: ArrayLike, tokens_PS: ArrayLike, truncated_PS: ArrayLike, budget: float
) -> Array:
    """Verdicts (P, S) if only answers finished within `budget` tokens count."""
    return _finished_correct(correct_PS, truncated_PS) * (table(tokens_PS) <= budget)


def area_within(
    correct_PS: ArrayLike, tokens_PS: ArrayLike, truncated_PS: ArrayLike, budget: float
) -> Estimate | None:
    """Mean of `accuracy_within` over all budgets from 0 to `budget` tokens, a share; None if no verdict is known.

    Exact: a correct completion of n tokens counts from n on, so it adds `max(0, 1 - n / budget)`. The interval
    includes one pseudo-prompt of 0 and one of 1: without them a model that is never wrong would be certain.

    >>> area_within([[1], [0]], [[25], [10]], [[0], [0]], 100).value
    0.375
    """
    if not budget > 0:
        raise ValueError(f"budget={budget} is not above 0 tokens")
    left_PS = np.clip(1 - table(tokens_PS) / budget, 0, None)
    means_P, _ = prompt_means(_finished_correct(correct_PS, truncated_PS) * left_PS)
    if not len(means_P):
        return None
    value, interval = float(means_P.mean()), mean_interval(np.append(means_P, [0.0, 1.0]))
    return Estimate(value, min(value, interval.low), max(value, min(1.0, interval.high)))


def pareto_front(accuracies: Sequence[float | None], tokens: Sequence[float]) -> list[bool]:
    """Models, marked, that no other one beats: none is as accurate with fewer tokens, or more accurate with as few.

    Point estimates, without intervals; a model of unknown accuracy is not on the front. Of equals all are.

    >>> pareto_front([0.8, 0.8, 0.7, None], [100, 90, 95, 10])
    [False, True, False, False]
    """
    points = list(zip(accuracies, tokens, strict=True))
    known = [(a, t) for a, t in points if a is not None]
    return [
        a is not None and not any(a2 >= a and t2 <= t and (a2, t2) != (a, t) for a2, t2 in known)
        for a, t in points
    ]


def _finished_correct(correct_PS: ArrayLike, truncated_PS: ArrayLike) -> Array:
    return table(correct_PS) * (1 - table(truncated_PS))
