"""L1-Max: think for at most n tokens."""

from pydantic import Field
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward
from lenrl.strategies.columns import tokens


class LcpoMax(Reward):
    """Correct answers are paid by how far they stay below the length asked for.

    `r = c clip(alpha (n - L) + 0.5, 0, 1)`, n the row's `target`. The paper's slope; its card says what
    released code has.

    Source: L1, arXiv 2503.04697, equation 2.

    Degenerate cases: wrong answers get 0; a target of 0 or none is refused. A correct
    answer far over its target gets 0, as a wrong one does.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(LcpoMax()(GROUP.with_(columns={"target": ((2500,) * 4,)})))
    [[0.95, 0.65, 0.0, 0.05]]
    """

    name = "lcpo_max"
    reads_columns = ("target",)

    alpha: float = Field(default=3e-4, ge=0)  # a token

    def __call__(self, rollouts: Rollouts) -> Tensor:
        left_PG = tokens(rollouts, "target") - rollouts.tokens_PG
        return rollouts.correct_PG * (self.alpha * left_PG + 0.5).clamp(0.0, 1.0)
