"""No truncation."""

from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import Truncation


class NoTruncation(Truncation):
    """Every completion is kept whole.

    >>> from lenrl.strategies.examples import GROUP
    >>> NoTruncation()(GROUP).tolist()
    [[1000, 2000, 3000, 4000]]
    """

    name = "none"

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return rollouts.length_PG.clone()

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        return {}
