"""Correctness minus length, the common first attempt."""

from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import warnings
from lenrl.strategies.base import Reward, RunInfo


class LengthPenalty(Reward):
    """Every token costs, right or wrong: `r = c - weight * L / L_max`; parts `correct` and `length`.

    Source: the common baseline; it is here to be compared with.

    Degenerate cases: in groups that are all wrong the shortest failure gets the largest push, and the weight
    cancels under group-std scaling; both are warned of at the start.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(LengthPenalty()(GROUP).total_PG)
    [[0.7559, 0.5117, -0.7324, 0.0234]]
    """

    name = "length_penalty"

    weight: float = Field(default=1.0, ge=0)

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        length = -self.weight * rollouts.tokens_PG / rollouts.max_length
        return RewardResult.of_parts(correct=rollouts.correct_PG, length=length)

    def warnings(self, run_info: RunInfo) -> list[str]:
        messages = [
            warnings.ungated(self.name),
            *warnings.cancels(self.name, "weight", "all-correct and all-wrong", run_info),
        ]
        if self.weight > 1:
            messages.append(
                f"reward.weight={self.weight:g} is above 1: a correct answer of L_max tokens is paid less "
                "than an empty wrong one; use at most 1"
            )
        return messages
