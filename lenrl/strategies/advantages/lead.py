"""GRPO-LEAD: hard problems count more."""

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.advantages.grpo import normalise
from lenrl.strategies.base import Advantage


class LeadAdvantage(Advantage):
    """GRPO's advantage times a weight that falls with the group's accuracy p.

    `w(x) = low + gain / (1 + exp(slope (x - middle)))` at x = p for A > 0 and x = 1 - p for A <= 0: solving
    a hard problem and failing an easy one count most.

    Source: GRPO-LEAD, arXiv 2504.09696.

    Degenerate cases: p is over valid rows with known verdicts; a group without any has advantage 0. Flat
    groups stay 0.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(LeadAdvantage()(RewardResult(GROUP.correct_PG), GROUP))
    [[0.4749, 0.4749, -2.2385, 0.4749]]
    """

    name = "lead"
    reads_verdicts = True
    scales_by_group_std = True

    low: float = Field(default=0.4, ge=0)
    gain: float = Field(default=1.1, ge=0)
    slope: float = Field(default=10.0, ge=0)
    middle: float = Field(default=0.75, ge=0, le=1)  # accuracy at half the gain

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        a = normalise(reward.total_PG)
        valid = ~reward.total_PG.isnan() & rollouts.known_PG
        p = groups.mean(rollouts.right_PG.double(), valid).nan_to_num(0.5).expand_as(a)
        x = torch.where(a > 0, p, 1 - p)
        return a * (self.low + self.gain * torch.sigmoid(-self.slope * (x - self.middle)))
