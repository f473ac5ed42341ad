"""Dr. GRPO: no division by the standard deviation."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Advantage


class DrGrpo(Advantage):
    """Reward minus the group's mean: `A = r - mean r`, so a coefficient keeps its size.

    Source: "Understanding R1-Zero-like training", arXiv 2503.20783.

    Degenerate cases: flat group 0; one valid row 0; a row that is not valid 0.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(DrGrpo()(RewardResult(GROUP.correct_PG), GROUP))
    [[0.25, 0.25, -0.75, 0.25]]
    """

    name = "dr_grpo"

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        r = reward.total_PG
        valid = ~r.isnan()
        return torch.where(valid & groups.spread(r, valid), r - groups.mean(r, valid), 0.0)
