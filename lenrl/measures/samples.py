"""Several samples of a prompt taken together, and the tokens that each verdict costs."""

import math

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import table


def pass_at_k(correct_PS: ArrayLike, k: int) -> float | None:
    """Mean over prompts of `1 - C(n-c, k)/C(n, k)`, n known verdicts of which c are correct.

    Prompts with fewer than k known verdicts are left out; None if that leaves none.

    >>> round(pass_at_k([[1, 0, 0, 0], [0, 0, 0, 0]], 2), 6)
    0.25
    """
    if k < 1:
        raise ValueError(f"k={k} is below 1")
    values = []
    for row in table(correct_PS):
        known = row[~np.isnan(row)]
        n, c = len(known), int(known.sum())
        if n >= k:
            values.append(1 - math.comb(n - c, k) / math.comb(n, k))
    return float(np.mean(values)) if values else None


def tokens_by_verdict(correct_PS: ArrayLike, tokens_PS: ArrayLike) -> dict[str, float | None]:
    """Mean tokens of the correct and of the wrong completions, and tokens spent for each correct answer.

    None where there is no such completion: with nothing correct the cost of an answer is undefined.
    """
    correct, tokens = table(correct_PS), table(tokens_PS)
    right, wrong = tokens[correct == 1], tokens[correct == 0]
    return {
        "tokens_correct": float(right.mean()) if right.size else None,
        "tokens_wrong": float(wrong.mean()) if wrong.size else None,
        "tokens_per_correct": float((right.sum() + wrong.sum()) / right.size) if right.size else None,
    }


def percentile(tokens_PS: ArrayLike, percent: float) -> float:
    """Percentile of all completions' tokens, linear interpolation."""
    return float(np.percentile(table(tokens_PS), percent))
