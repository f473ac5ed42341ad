"""L1-Exact: think for exactly n tokens."""

from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import warnings
from lenrl.strategies.base import Reward, RunInfo
from lenrl.strategies.columns import tokens


class LcpoExact(Reward):
    """Correctness minus the distance from the length asked for: `r = c - alpha |n - L|`, n its `target`.

    Parts `correct` and `length`.

    Source: L1, arXiv 2503.04697, equation 1.

    Degenerate cases: the distance counts for wrong answers too; a target of 0 or none is refused. A wrong
    answer on target can beat a correct one that is 3,334 tokens or more off. Declares `monotone_length`:
    below the target more tokens pay more.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(LcpoExact()(GROUP.with_(columns={"target": ((2500,) * 4,)})).total_PG)
    [[0.55, 0.85, -0.15, 0.55]]
    """

    name = "lcpo_exact"
    reads_columns = ("target",)
    declares = ("monotone_length",)

    alpha: float = Field(default=3e-4, ge=0)  # a token

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        length = -self.alpha * (tokens(rollouts, "target") - rollouts.tokens_PG).abs()
        return RewardResult.of_parts(correct=rollouts.correct_PG, length=length)

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.cancels(self.name, "alpha", "all-correct and all-wrong", run_info)
