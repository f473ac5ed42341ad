"""Each part of the reward in its own scale."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.advantages.grpo import normalise
from lenrl.strategies.base import Advantage


class Decoupled(Advantage):
    """Every named part of the reward is normalised in its group like `grpo`, then the parts are averaged that it has.

    Source: LongWriter-Zero, arXiv 2506.18841; a reward without parts is one part.

    Degenerate cases: a part that is flat in a group adds 0 there; a part that is NaN for a row adds 0 to it, and one
    that is NaN for a whole group is none of its parts. A weight of a part cancels, but for its sign and for 0: that is
    no part.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> parts = {"correct": GROUP.correct_PG, "length": -GROUP.tokens_PG}
    >>> show(Decoupled()(RewardResult(GROUP.correct_PG, parts), GROUP))
    [[0.8309, 0.4436, -0.9435, -0.331]]
    """

    name = "decoupled"
    scales_by_group_std = True
    levels_parts = True

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        invalid = reward.total_PG.isnan()
        parts = list(reward.parts.values()) or [reward.total_PG]
        known = torch.stack([part.masked_fill(invalid, float("nan")) for part in parts])
        given_P1 = (~known.isnan()).any(dim=2, keepdim=True).sum(dim=0)
        return torch.stack([normalise(part) for part in known]).sum(dim=0) / given_P1.clamp(min=1)
