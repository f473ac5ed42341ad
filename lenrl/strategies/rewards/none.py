"""No reward of the method's own."""

import torch
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward


class NoReward(Reward):
    """Nothing: `r = 0`, to which reward functions add their parts. Needs no gold answers.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(NoReward()(GROUP))
    [[0.0, 0.0, 0.0, 0.0]]
    """

    name = "none"
    reads_verdicts = False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return torch.zeros_like(rollouts.correct_PG)
