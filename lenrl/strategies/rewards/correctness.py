"""0/1 reward."""

from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward


class Correctness(Reward):
    """The verdict: `r = c`.

    Source: DeepSeekMath's outcome reward (arXiv 2402.03300, section 4.1.2). A completion nobody can judge
    is not valid (NaN).

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Correctness()(GROUP))
    [[1.0, 1.0, 0.0, 1.0]]
    """

    name = "correctness"

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return rollouts.correct_PG.clone()
