"""Leave-one-out baseline."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Advantage


class Rloo(Advantage):
    """Reward minus the mean of the group's other valid rows: `A_i = (r_i - mean r) * n / (n - 1)`.

    With `whiten`, as OpenRLHF's trainer does, the mean over all tokens of the batch is then taken off and the rest
    divided by their standard deviation (n).

    Source: Ahmadian et al., arXiv 2402.14740.

    Degenerate cases: one valid row 0; flat group 0, with `whiten` minus the batch's mean in deviations; a row that
    is not valid 0. With `whiten` declares `groups_leak`, since mean and deviation are the batch's, and `flat_group`.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Rloo()(RewardResult(GROUP.correct_PG), GROUP))
    [[0.3333, 0.3333, -1.0, 0.3333]]
    >>> show(Rloo(whiten=True)(RewardResult(GROUP.correct_PG), GROUP))
    [[0.6547, 0.6547, -1.5275, 0.6547]]
    """

    name = "rloo"

    whiten: bool = False  # over the batch's tokens

    @property
    def declares(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """With `whiten` mean and deviation of the batch."""
        return ("groups_leak", "flat_group") if self.whiten else ()

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        r = reward.total_PG
        valid = ~r.isnan()
        n = groups.count(valid)
        a = (r - groups.mean(r, valid)) * n / (n - 1).clamp(min=1.0)
        a = torch.where(valid & groups.spread(r, valid), a, 0.0)
        return groups.token_whitened(a, rollouts.length_PG, valid, population=True) if self.whiten else a
