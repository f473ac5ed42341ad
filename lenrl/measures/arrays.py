"""Tables of verdicts and lengths, and what all intervals share."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95

Array = NDArray[np.float64]


def table(values: ArrayLike) -> Array:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"shape {table.shape}, expected (prompts, samples) with at least one sample")
    return table


def prompt_means(correct_PS: Array) -> tuple[Array, float]:
    """Mean of the known verdicts of each prompt that has any, and how many verdicts those have on average."""
    known_PS = ~np.isnan(correct_PS)
    known_P = known_PS.sum(axis=1)
    has = known_P > 0
    sums = np.where(known_PS, correct_PS, 0.0).sum(axis=1)
    return sums[has] / known_P[has], float(known_P[has].mean()) if has.any() else 0.0


def quantile(P: int) -> float:
    """Student's quantile for P prompts; two prompts or fewer would make it useless, hence the floor."""
    return float(stats.t.ppf((1 + LEVEL) / 2, max(P - 1, 2)))
