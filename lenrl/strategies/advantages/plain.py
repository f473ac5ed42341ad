"""The reward itself."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import Advantage


class Plain(Advantage):
    """`A = r`: no group mean, no deviation. For rewards that bring their own baseline.

    Source: AdaptThink, arXiv 2505.13417, whose reward takes the start policy's accuracy off.

    Degenerate cases: a row that is not valid 0. Declares `flat_group`: there is no baseline that a group of one
    reward would meet.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Plain()(RewardResult(GROUP.correct_PG - 0.625), GROUP))
    [[0.375, 0.375, -0.625, 0.375]]
    """

    name = "plain"
    declares = ("flat_group",)

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        return torch.nan_to_num(reward.total_PG, nan=0.0)
