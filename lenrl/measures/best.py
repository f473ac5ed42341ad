"""The most accurate of several models on the same problems, and those that can't be told apart from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import LEVEL, prompt_means, table
from lenrl.measures.intervals import Estimate
from lenrl.measures.paired import accuracy_difference


@dataclass(frozen=True)
class Ranking:
    """The most accurate of M models, and how far each other one is behind it.

    The intervals hold for all models at once (Bonferroni), so that with 95 % certainty the model that is truly
    the most accurate is the best one or one of those that are not told apart from it.
    Source: Hsu, Constrained simultaneous confidence intervals for multiple comparisons with the best, Annals of
    Statistics 12 (1984), 1136-1144.
    """

    best: int
    behind: tuple[Estimate | None, ...]  # the best's accuracy minus this one's; None: the best itself

    @property
    def tied(self) -> list[int]:
        """Models that are not told apart from the best, the nearest first."""
        near = [(e.value, number) for number, e in enumerate(self.behind) if e and e.low <= 0]
        return [number for _, number in sorted(near)]

    @property
    def next(self) -> int | None:
        """The nearest model behind the best; None: there is no other."""
        others = [(e.value, number) for number, e in enumerate(self.behind) if e]
        return min(others)[1] if others else None


def rank(correct_MPS: Sequence[ArrayLike], tokens_M: Sequence[float], seed: int = 0) -> Ranking | None:
    """The most accurate model, of equals the shortest, with paired intervals of the others' distances.

    Args:
        correct_MPS: verdicts of M models, (P, S) each: the same prompts in the same order, S may differ.
        tokens_M: mean tokens of each.

    Returns:
        None where some model has no known verdict, or two have none in common.

    >>> right, wrong = [[1.0]] * 40, [[1.0]] * 20 + [[0.0]] * 20
    >>> found = rank([wrong, right, right], [10, 30, 20])
    >>> found.best, found.tied, found.behind[0].value
    (2, [1], 0.5)
    """
    tables = [table(correct_PS) for correct_PS in correct_MPS]
    means = [prompt_means(correct_PS)[0] for correct_PS in tables]
    if not means or not all(map(len, means)):
        return None
    best = max(range(len(means)), key=lambda m: (float(means[m].mean()), -tokens_M[m]))
    level = 1 - (1 - LEVEL) / max(1, len(means) - 1)
    behind = [
        None
        if number == best
        else accuracy_difference(correct_PS, tables[best], np.random.default_rng(seed), level)
        for number, correct_PS in enumerate(tables)
    ]
    if any(e is None and number != best for number, e in enumerate(behind)):
        return None
    return Ranking(best, tuple(behind))


def certainty(ranking: Ranking, names: Sequence[str], write: Callable[[float], str], most: int = 6) -> str:
    """The best one's lead in words: over the next one, or the models that it is not told apart from.

    Args:
        write: a difference of accuracy, as `measures.format.points` does.
        most: names that are listed.
    """

    def lead(number: int) -> str:
        e = ranking.behind[number]
        assert e is not None
        return f"{write(e.value)} [{write(e.low)}, {write(e.high)}]"

    if ranking.next is None:
        return "there is no other"
    if not ranking.tied:
        return f"told apart from all others: {lead(ranking.next)} points to the next, {names[ranking.next]}"
    shown = ", ".join(f"{names[number]} ({lead(number)})" for number in ranking.tied[:most])
    more = len(ranking.tied) - most
    return f"not told apart from {shown}" + (f" and {more} more" if more > 0 else "")
