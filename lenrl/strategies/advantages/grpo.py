"""GRPO's group-normalised advantage."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Advantage

EPS = 1e-4  # TRL's, added to the standard deviation


def normalise(r_PG: Tensor) -> Tensor:
    """`(r - mean) / (sd + 1e-4)` in each group over its valid rows; 0 for NaN rows and flat groups."""
    valid = ~r_PG.isnan()
    a = groups.z_scores(r_PG, valid, population=False, eps=EPS)
    return torch.where(valid & groups.spread(r_PG, valid), a, 0.0)


class Grpo(Advantage):
    """TRL's default: `A = (r - mean r) / (sd r + 1e-4)` in each group.

    Source: DeepSeekMath, arXiv 2402.03300, section 4.1.2, with TRL's 1e-4.

    Degenerate cases: flat group 0; one valid row 0; a row that is not valid 0.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Grpo()(RewardResult(GROUP.correct_PG), GROUP))
    [[0.4999, 0.4999, -1.4997, 0.4999]]
    """

    name = "grpo"
    scales_by_group_std = True

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        return normalise(reward.total_PG)
