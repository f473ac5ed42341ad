"""The verifier's score between 0 and 1."""

from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward


class Graded(Reward):
    """The score of a graded verdict: `r = s`, 0 <= s <= 1.

    For verifiers that give part of the credit: unit tests passed of all, points of a rubric, a judge's mark.

    Source: DeepSeekMath's outcome reward (arXiv 2402.03300, section 4.1.2), where the reward is any number.

    Degenerate cases: a verdict without a score counts 1 or 0, as in `correctness`; a completion nobody can judge is
    not valid (NaN).

    >>> from lenrl.strategies.examples import groups, show
    >>> show(Graded()(groups([[100, 200, 300]], [[1, 0, 0]], grade_PG=[[0.9, 0.25, float("nan")]])))
    [[0.9, 0.25, 0.0]]
    """

    name = "graded"

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return rollouts.score_PG
