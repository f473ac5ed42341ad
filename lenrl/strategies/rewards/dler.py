"""DLER: a cap in the reward, and nothing else about length."""

from pydantic import Field
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward


class Dler(Reward):
    """Correct within the cap, or nothing: `r = c` if `L <= cap` and the completion was not truncated, else 0.

    Source: DLER, arXiv 2510.15110.

    Degenerate cases: a row with an unknown verdict is not valid, over the cap too.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Dler(cap=3500)(GROUP))
    [[1.0, 1.0, 0.0, 0.0]]
    """

    name = "dler"

    cap: int = Field(default=4000, gt=0)  # tokens

    def __call__(self, rollouts: Rollouts) -> Tensor:
        within = (rollouts.length_PG <= self.cap) & ~rollouts.truncated_PG
        return rollouts.correct_PG * within.double()
