"""Mean and deviation of the whole batch, no groups."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Advantage


class BatchNormalised(Advantage):
    """`A = (r - mean) / (psd + 1e-8)` over all valid rows of the generation batch.

    Source: O1-Pruner, arXiv 2501.12570, which normalises its weights over the whole data set.

    Degenerate cases: a flat batch 0; a row that is not valid 0. Declares `groups_leak`: mean and deviation are the
    batch's. Declares `flat_group`: a group that is better than the batch is pushed up as a whole.

    >>> from lenrl.strategies.examples import groups, show
    >>> batch = groups([[10, 20], [10, 20]], [[1, 1], [1, 0]])
    >>> show(BatchNormalised()(RewardResult(batch.correct_PG), batch))
    [[0.5774, 0.5774], [0.5774, -1.7321]]
    """

    name = "batch_normalised"
    declares = ("groups_leak", "flat_group")

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        r_1N = reward.total_PG.reshape(1, -1)
        valid = ~r_1N.isnan()
        a = groups.z_scores(r_1N, valid, population=True, eps=1e-8)
        return torch.where(valid & groups.spread(r_1N, valid), a, 0.0).reshape(reward.total_PG.shape)
