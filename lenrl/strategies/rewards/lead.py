"""GRPO-LEAD: an exponential of the length score."""

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo


class Lead(Reward):
    """Correct answers decay with their length, wrong ones get -1.

    `r = exp(-alpha z)` if correct, `z = (L - mean) / (sd + 1e-6)` over the group's correct completions;
    else -1.

    Source: GRPO-LEAD, arXiv 2504.09696.

    Degenerate cases: a lone correct completion gets 1.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Lead()(GROUP))
    [[1.0446, 1.011, -1.0, 0.9469]]
    """

    name = "lead"

    alpha: float = Field(default=0.05, ge=0)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right = rollouts.right_PG
        z = groups.z_scores(rollouts.tokens_PG, right, population=False, eps=1e-6)
        reward_PG = torch.where(right, torch.exp(-self.alpha * z), -1.0)
        return reward_PG.masked_fill(~rollouts.known_PG, float("nan"))

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.cancels(self.name, "alpha", "all-correct", run_info)
