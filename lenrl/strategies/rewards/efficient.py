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
    correct completions. The paper pairs it with `advantage: rloo`. With `check_eos`, as in its released runs, a
    truncated completion counts as wrong: paid 0, and in no statistic.

    Source: Arora and Zanette, arXiv 2502.04463.

    Degenerate cases: a lone correct completion gets `1 - alpha/2`; wrong ones get 0.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Efficient()(GROUP))
    [[0.9744, 0.9566, 0.0, 0.9208]]
    >>> unfinished = GROUP.with_(truncated_PG=torch.tensor([[False, True, False, False]]))
    >>> show(Efficient(check_eos=True)(unfinished))
    [[0.9731, 0.0, 0.0, 0.9269]]
    """

    name = "efficient"

    alpha: float = Field(default=0.1, ge=0, le=1)
    check_eos: bool = False  # truncated completions count as wrong

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right = rollouts.right_PG
        if self.check_eos:
            right = right & ~rollouts.truncated_PG
        z = groups.z_scores(rollouts.tokens_PG, right, population=True, eps=1e-7)
        wrong_PG = rollouts.correct_PG * 0.0  # NaN where the verdict is unknown
        return torch.where(right, 1 - self.alpha * torch.sigmoid(z), wrong_PG)

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.cancels(self.name, "alpha", "all-correct", run_info)
