"""What people write first: correctness minus length."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lenrl.rollouts import Reward, Rollouts
from lenrl.strategies import notes
from lenrl.strategies.base import RewardRule, Setting


class LengthPenalty(RewardRule):
    """Every token costs, right or wrong: `r = c - weight * L / L_max`; parts `correct` and `length`.

    Source: the common baseline; it is here to be compared with.

    Degenerate cases: in groups that are all wrong the shortest failure gets the largest push, and the weight
    cancels under group-std scaling; both are said at start.

    >>> from lenrl.strategies.worked import GROUP, show
    >>> show(LengthPenalty()(GROUP).total_PG)
    [[0.7559, 0.5117, -0.7324, 0.0234]]
    """

    name: ClassVar[str] = "length_penalty"

    weight: float = Field(default=1.0, ge=0)

    def __call__(self, rollouts: Rollouts) -> Reward:
        length = -self.weight * rollouts.tokens_PG / rollouts.max_length
        return Reward(rollouts.correct_PG + length, {"correct": rollouts.correct_PG, "length": length})

    def warnings(self, setting: Setting) -> list[str]:
        found = [
            notes.ungated(self.name),
            *notes.cancels(self.name, "weight", "all-correct and all-wrong", setting),
        ]
        if self.weight > 1:
            found.append(
                f"reward.weight={self.weight:g} is above 1: a correct answer of L_max tokens is paid less "
                "than an empty wrong one; use at most 1"
            )
        return found
