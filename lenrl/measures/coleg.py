"""Accuracy on problems that are told longer and longer (CoLeG-E and CoLeG-R of E-GSM, arXiv 2405.14804)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import Array
from lenrl.measures.format import named
from lenrl.measures.intervals import accuracy
from lenrl.measures.paired import accuracy_difference, ratio


def every_round(correct_BRS: ArrayLike) -> Array:
    """(B, S) verdicts of being right in every round but the first, which tells the problem as it is."""
    later_BRS = np.asarray(correct_BRS, dtype=np.float64)[:, 1:]
    return np.where((later_BRS == 0).any(axis=1), 0.0, later_BRS.min(axis=1))  # one that is wrong decides


def figures_of_rounds(correct_BRS: ArrayLike, tokens_BRS: ArrayLike, seed: int = 0) -> dict[str, Any]:
    """Figures of B problems told in R rounds, S samples each, plain values.

    `coleg_e`: share right in every round after the first; `coleg_r`: accuracy of the last round over the first's;
    `drop`: the first's minus the last's. Intervals are over the B problems, whose rounds stay together.

    >>> rounds = [[1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    >>> figures = figures_of_rounds(np.array(rounds)[..., None], np.ones((5, 5, 1)))
    >>> figures["accuracy"], figures["coleg_e"], round(figures["coleg_r"], 4)
    ([0.8, 1.0, 0.8, 0.8, 0.6], 0.4, 0.75)
    """
    correct, tokens = np.asarray(correct_BRS, dtype=np.float64), np.asarray(tokens_BRS, dtype=np.float64)
    by_round = [accuracy(correct[:, number]) for number in range(correct.shape[1])]
    first, last = correct[:, 0], correct[:, -1]
    rng = np.random.default_rng(seed)
    return {
        "problems": len(correct),
        "accuracy": [each and each.value for each in by_round],
        "accuracy_ci95": [each and each.ci95 for each in by_round],
        "tokens": tokens.mean(axis=(0, 2)).tolist(),
        **named("coleg_e", accuracy(every_round(correct))),
        **named("coleg_r", ratio(first, last, rng)),
        **named("drop", accuracy_difference(last, first, rng)),
    }
