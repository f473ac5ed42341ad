"""DDCA: correctness over the group, length over its right answers."""

from typing import Literal

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Advantage


class DdcaAdvantage(Advantage):
    """Each part of the reward against its own baseline: correctness normalised, length centred over right answers.

    `A = (c - p) / (psd c + 1e-8)` of the part `correct`, plus for right completions `length` minus its mean over them.
    `baseline=rloo`: both minus the mean of the other (valid; right) ones, no division. Any other part, such as that
    of a reward function, is added to `correct`.

    Source: DDCA, arXiv 2602.02099.

    Degenerate cases: a flat `correct` gives 0, the length term stays, also in all-right groups; a lone right
    completion has no length term. A reward without these parts: its total is `correct`, there is no length.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> from lenrl.strategies.rewards.ddca import Ddca
    >>> show(DdcaAdvantage()(Ddca()(GROUP), GROUP), 6)
    [[0.613065, 0.586366, -1.732051, 0.53262]]
    >>> show(DdcaAdvantage(baseline="rloo")(Ddca()(GROUP), GROUP), 6)
    [[0.386905, 0.346856, -1.0, 0.266238]]
    """

    name = "ddca"
    reads_verdicts = True
    scales_by_group_std = False  # of the length term

    baseline: Literal["group", "rloo"] = "group"

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        valid = ~reward.total_PG.isnan()
        right = valid & rollouts.right_PG
        correct, length = reward.apart("length")
        length = torch.zeros_like(correct) if length is None else length
        a = self._centred(correct, valid)
        if self.baseline == "group":
            a = a / (groups.psd(correct, valid) + 1e-8)
        return torch.where(groups.spread(correct, valid), a, 0.0) + self._centred(length, right)

    def _centred(self, x_PG: Tensor, valid_PG: Tensor) -> Tensor:
        """(P, G): minus the mean of the valid rows, or of the other ones; 0 elsewhere."""
        centred = torch.where(valid_PG, x_PG - groups.mean(x_PG, valid_PG), 0.0)
        if self.baseline == "group":
            return centred
        n = groups.count(valid_PG)
        return centred * n / (n - 1).clamp(min=1.0)
