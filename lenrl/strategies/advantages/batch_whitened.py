"""Group mean, batch standard deviation."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Advantage


class BatchWhitened(Advantage):
    """Reward minus the group's mean, over the standard deviation of the whole batch.

    `d = r - group mean`, `A = d / (psd of all valid d + 1e-8)`, over the generation batch before a group is
    dropped.

    `over=tokens` is the form of DLER's released code: groups whose verdicts are all equal are left out first, mean
    and standard deviation (n - 1) run over all tokens of the others, and the mean is taken off too; `bonus` is then
    added to right completions.

    Source: REINFORCE++, arXiv 2501.03262, as used by DLER, arXiv 2510.15110.

    Degenerate cases: a flat batch 0; a row that is not valid 0; groups that are left out 0, without bonus. Declares
    `groups_leak`: the divisor is the batch's.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(BatchWhitened()(RewardResult(GROUP.correct_PG), GROUP))
    [[0.5774, 0.5774, -1.7321, 0.5774]]
    >>> from lenrl.strategies.examples import groups as batch
    >>> two = batch([[1000, 3000]], [[1, 0]])
    >>> show(BatchWhitened(over="tokens")(RewardResult(two.correct_PG), two), 3)
    [[1.732, -0.577]]
    """

    name = "batch_whitened"
    declares = ("groups_leak",)

    over: Literal["rows", "tokens"] = "rows"  # what mean and deviation count
    bonus: float = Field(default=0.0, ge=0)  # added to right completions of groups with signal

    @property
    def reads_verdicts(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Right completions are known only by their verdicts, and so are the groups that the code leaves out."""
        return self.over == "tokens" or self.bonus > 0

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        r = reward.total_PG
        valid = ~r.isnan()
        d = r - groups.mean(r, valid)
        if self.over == "tokens":
            kept = valid & groups.spread(rollouts.correct_PG, valid & rollouts.known_PG)
            a = groups.token_whitened(d, rollouts.length_PG, kept, population=False)
        else:
            kept = valid & groups.spread(r, valid)
            d = torch.where(kept, d, 0.0)
            a = d / (groups.psd(d.reshape(1, -1), valid.reshape(1, -1)) + 1e-8)
        return torch.where(kept & rollouts.right_PG, a + self.bonus, a)
