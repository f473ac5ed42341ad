"""ShorterBetter: the shortest correct completion is the target."""

import torch
from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo


class ShorterBetter(Reward):
    """Correctness minus the distance from the group's shortest correct completion.

    `r = alpha c - beta |L - n|`, n the shortest correct length, or the group's mean length if none is
    correct; parts `correct` and `length`.

    Source: ShorterBetter, arXiv 2504.21370.

    Degenerate cases: lengths are those of valid rows. Far from the target a correct answer
    is paid less than a wrong one near it.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(ShorterBetter()(GROUP).total_PG)
    [[2.0, 1.0, -2.0, -1.0]]
    """

    name = "shorter_better"

    alpha: float = Field(default=2.0, ge=0)
    beta: float = Field(default=0.001, ge=0)  # a token

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        tokens, right = rollouts.tokens_PG, rollouts.right_PG
        shortest = groups.lowest(tokens, right)
        target = torch.where(shortest.isfinite(), shortest, groups.mean(tokens, rollouts.known_PG))
        correct = self.alpha * rollouts.correct_PG
        length = -self.beta * (tokens - target).abs()
        return RewardResult.of_parts(correct=correct, length=length)

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.cancels(self.name, "beta", "all-correct and all-wrong", run_info)
