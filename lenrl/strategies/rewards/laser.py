"""LASER: a bonus for correct answers within a target length."""

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward, RunInfo

WRONG, UNREADABLE, BONUS = -0.5, -1.0, 0.5


def stepped(rollouts: Rollouts, target: Tensor | float) -> Tensor:
    """(P, G): 1 if correct, +0.5 within the target (tokens); -0.5 if wrong, -1 if unreadable too."""
    right = 1.0 + BONUS * (rollouts.tokens_PG <= target).double()
    wrong = torch.where(rollouts.formatted_PG, WRONG, UNREADABLE).double()
    reward_PG = torch.where(rollouts.right_PG, right, wrong)
    return reward_PG.masked_fill(~rollouts.known_PG, float("nan"))


class Laser(Reward):
    """A step at one length: correct 1, and 0.5 more if `L <= target`; wrong -0.5; no readable answer -1.

    Source: LASER, arXiv 2505.15612.

    Degenerate cases: a correct answer counts as readable whatever `formatted` says.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Laser()(GROUP))
    [[1.5, 1.5, -0.5, 1.0]]
    """

    name = "laser"
    reads_format = True

    target: int = Field(default=2048, gt=0)  # tokens

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return stepped(rollouts, self.target)

    def warnings(self, run_info: RunInfo) -> list[str]:
        if self.target < run_info.max_length:
            return []
        return [
            f"reward.target={self.target} is not below L_max={run_info.max_length}: every correct answer gets "
            "the bonus and no length is penalised; lower reward.target"
        ]
