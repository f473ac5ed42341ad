"""DAPO's soft overlong punishment."""

from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import Reward, RunInfo


class Overlong(Reward):
    """Correctness, minus a ramp over the last `cache` tokens below L_max.

    `r = c + clip((L_max - cache - L) / cache, -1, 0)`; parts `correct` and `length`.

    Source: DAPO, arXiv 2503.14476, equation 13.

    Degenerate cases: rows longer than L_max keep -1; a cache of L_max or more punishes every length.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Overlong()(GROUP).total_PG)
    [[1.0, 1.0, 0.0, 0.0938]]
    """

    name = "overlong"

    cache: int = Field(default=1024, gt=0)  # tokens

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        length = ((rollouts.max_length - self.cache - rollouts.tokens_PG) / self.cache).clamp(-1.0, 0.0)
        return RewardResult.of_parts(correct=rollouts.correct_PG, length=length)

    def warnings(self, run_info: RunInfo) -> list[str]:
        if self.cache < run_info.max_length:
            return []
        return [
            f"reward.cache={self.cache} is not below L_max={run_info.max_length}: every token is punished, "
            "not only the last ones; choose a cache below max_completion_length"
        ]
