"""Group mean, batch standard deviation."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Advantage


class BatchWhitened(Advantage):
    """Reward minus the group's mean, over the standard deviation of the whole batch.

    `d = r - group mean`, `A = d / (psd of all valid d + 1e-8)`, over the generation batch before a group is
    dropped.

    Source: REINFORCE++, arXiv 2501.03262, as used by DLER, arXiv 2510.15110.

    Degenerate cases: a flat batch 0; a row that is not valid 0. Declares `groups_leak`: the divisor is the
    batch's.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(BatchWhitened()(RewardResult(GROUP.correct_PG), GROUP))
    [[0.5774, 0.5774, -1.7321, 0.5774]]
    """

    name = "batch_whitened"
    declares = ("groups_leak",)

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        r = reward.total_PG
        valid = ~r.isnan()
        d = torch.where(valid & groups.spread(r, valid), r - groups.mean(r, valid), 0.0)
        whole = groups.psd(d.reshape(1, -1), valid.reshape(1, -1))
        return d / (whole + 1e-8)
