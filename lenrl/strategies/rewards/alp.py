"""ALP: tokens cost more where the group already succeeds."""

import math

from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.advantages.grpo import EPS
from lenrl.strategies.base import Reward, RunInfo


class Alp(Reward):
    """A price a token that grows with the group's accuracy p: `r = c - beta L max(p, 1/G)`.

    Parts `correct` and `length`.

    Source: "Just Enough Thinking", arXiv 2506.05256.

    Degenerate cases: p is over valid rows; an all-wrong group still pays 1/G of the price.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Alp()(GROUP).total_PG, 6)
    [[0.999925, 0.99985, -0.000225, 0.9997]]
    """

    name = "alp"

    beta: float = Field(default=1e-7, ge=0)  # a token

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        accuracy = groups.mean(rollouts.right_PG.double(), rollouts.known_PG)
        length = -self.beta * rollouts.tokens_PG * accuracy.clamp(min=1 / rollouts.G)
        return RewardResult.of_parts(correct=rollouts.correct_PG, length=length)

    def warnings(self, run_info: RunInfo) -> list[str]:
        G = max(2, run_info.num_generations or 2)
        # The largest standard deviation that a group can have whose verdicts tie: half of it at either end
        spread = self.beta * run_info.max_length * math.sqrt(G / (4 * (G - 1)))
        if not run_info.scaled_by_group_std or spread > 10 * EPS:
            return warnings.cancels(self.name, "beta", "all-correct and all-wrong", run_info)
        return [
            f"reward.beta={self.beta:g} of 'alp' is faint at {run_info.max_length} tokens: rewards of a group that "
            f"ties on the verdict deviate by at most {spread:.2g}, and GRPO adds {EPS:g} to the deviation it divides "
            f"by, which leaves at most {spread / (spread + EPS):.2g} of an advantage by length. Raise reward.beta for "
            "short completions (penalty_leverage shows what it does)"
        ]
