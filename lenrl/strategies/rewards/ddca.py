"""DDCA: length judged among the right answers only."""

import torch
from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Reward


class Ddca(Reward):
    """Right answers lose a share that grows with their length among the right ones, and with the group's accuracy.

    `length = -beta rho sigma(z)` if right, else 0; `z = (L - mean) / (psd + 1e-8)` over the right lengths, within 20;
    `rho` the group's accuracy, or 1 without `dynamic` (the paper's DCA). `r = c + length`, parts `correct` and
    `length`, which `advantage: ddca` keeps apart.

    Source: DDCA, arXiv 2602.02099.

    Degenerate cases: a lone right completion, and equal lengths: z = 0.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Ddca()(GROUP).parts["length"], 6)
    [[-0.038338, -0.065037, 0.0, -0.118782]]
    """

    name = "ddca"

    beta: float = Field(default=0.2, ge=0)  # largest share that length can cost
    dynamic: bool = True

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        right, correct = rollouts.right_PG, rollouts.correct_PG
        z = groups.z_scores(rollouts.tokens_PG, right, population=True, eps=1e-8).clamp(-20, 20)
        rho = groups.mean(right.double(), rollouts.known_PG) if self.dynamic else 1.0
        length = torch.where(right, -self.beta * rho * torch.sigmoid(z), 0.0)
        return RewardResult.of_parts(correct=correct, length=length)
