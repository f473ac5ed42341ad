"""DLER: a cap in the reward, and nothing else about length."""

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward


class Dler(Reward):
    """Correct within the cap, or nothing: `r = c` if `L <= cap` and the completion was not truncated, else
    `unfinished * c`.

    Source: DLER, arXiv 2510.15110. Its released code has `unfinished=0.1` and no cap but the one on generation.

    Degenerate cases: a row with an unknown verdict is not valid, over the cap too.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Dler(cap=3500)(GROUP))
    [[1.0, 1.0, 0.0, 0.0]]
    >>> show(Dler(cap=3500, unfinished=0.1)(GROUP))
    [[1.0, 1.0, 0.0, 0.1]]
    """

    name = "dler"

    cap: int = Field(default=4000, gt=0)  # tokens
    unfinished: float = Field(default=0.0, ge=0, le=1)  # share of the pay over the cap or truncated

    def __call__(self, rollouts: Rollouts) -> Tensor:
        within = (rollouts.length_PG <= self.cap) & ~rollouts.truncated_PG
        return rollouts.correct_PG * torch.where(within, 1.0, self.unfinished)
