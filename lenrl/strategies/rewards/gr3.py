"""GR3: the reward is rescaled by relative length."""

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo


class Gr3(Reward):
    """Correctness divided by relative length: `r = c / (1 + alpha L / mean L)`, mean over valid rows.

    Source: GR3, arXiv 2603.10535.

    Degenerate cases: wrong answers get 0; a group whose lengths are all 0 is not penalised.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Gr3()(GROUP))
    [[0.8834, 0.7911, 0.0, 0.6545]]
    """

    name = "gr3"

    alpha: float = Field(default=0.33, ge=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        tokens = rollouts.tokens_PG
        level = groups.mean(tokens, rollouts.known_PG)
        relative = torch.where(level > 0, tokens / level, 0.0)
        return rollouts.correct_PG / (1 + self.alpha * relative)

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.cancels(self.name, "alpha", "all-correct", run_info)
