"""Training language models to reason efficiently."""

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo


class Efficient(Reward):
    """Correct answers are paid more when they are short for their group.

    `r = c * (1 - alpha * sigma((L - mean_correct) / (psd_correct + 1e-7)))`, statistics over the group's
    correct completions. The paper pairs it with `advantage: rloo`.

    Source: Arora and Zanette, arXiv 2502.04463.

    Degenerate cases: a lone correct completion gets `1 - alpha/2`; wrong ones get 0.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Efficient()(GROUP))
    [[0.9744, 0.9566, 0.0, 0.9208]]
    """

    name = "efficient"

    alpha: float = Field(default=0.1, ge=0, le=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right = rollouts.right_PG
        z = groups.z_scores(rollouts.tokens_PG, right, population=True, eps=1e-7)
        return torch.where(right, 1 - self.alpha * torch.sigmoid(z), rollouts.correct_PG)

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.cancels(self.name, "alpha", "all-correct", run_info)
