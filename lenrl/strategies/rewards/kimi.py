"""Kimi k1.5's length reward."""

import torch
from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo


class Kimi(Reward):
    """Short completions of a group are paid extra, long ones less.

    `lam = 0.5 - (L - min) / (max - min)` over the group's valid rows; `r = c + weight lam` if correct,
    `c + weight min(0, lam)` if not; parts `correct` and `length`.

    Source: Kimi k1.5, arXiv 2501.12599, section 2.3.3.

    Degenerate cases: equal lengths give lam = 0. A weight above 2 pays the longest
    correct completion less than a short wrong one.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Kimi()(GROUP).total_PG)
    [[1.5, 1.1667, -0.1667, 0.5]]
    """

    name = "kimi"

    weight: float = Field(default=1.0, ge=0)

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        tokens, known = rollouts.tokens_PG, rollouts.known_PG
        shortest, longest = groups.lowest(tokens, known), groups.highest(tokens, known)
        lam = 0.5 - (tokens - shortest) / (longest - shortest)
        lam = torch.where(known & (longest > shortest), lam, 0.0)
        length = self.weight * torch.where(rollouts.right_PG, lam, lam.clamp(max=0.0))
        return RewardResult.of_parts(correct=rollouts.correct_PG, length=length)

    def warnings(self, run_info: RunInfo) -> list[str]:
        messages = warnings.cancels(self.name, "weight", "all-correct and all-wrong", run_info)
        if self.weight > 2:
            messages.append(
                f"reward.weight={self.weight:g} is above 2: the longest correct answer is paid less than a "
                "short wrong one; use at most 2"
            )
        return messages
