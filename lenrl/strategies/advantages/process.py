"""GRPO with process supervision: rewards of steps, each for the tokens up to its end."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.advantages.grpo import EPS, normalise
from lenrl.strategies.base import Advantage


class Process(Advantage):
    """A token's advantage is the sum of the normalised rewards from it on.

    `A_t = sum of (r_j - mean R) / (sd R + 1e-4) over the rewards j of the completion with e_j >= t`, where e_j is the
    token that has reward j and R are all rewards of tokens in the group.

    Source: DeepSeekMath, arXiv 2402.03300, section 4.1.3, with TRL's 1e-4.

    Degenerate cases: where all rewards of a group are equal, 0; tokens behind a completion's last reward 0; a row
    that is not valid 0 and not in R; a reward of whole completions is normalised as in `grpo`.

    >>> from lenrl.strategies.examples import groups, show
    >>> nan = float("nan")
    >>> steps = RewardResult.of_tokens(torch.tensor([[[1.0, nan, 0.0], [nan, 1.0, nan], [0.0, nan, nan]]]))
    >>> show(Process()(steps, groups([[3, 3, 2]], [[0, 1, 0]])))
    [[[0.0, -0.8659, -0.8659], [0.8659, 0.8659, 0.0], [-0.8659, 0.0, 0.0]]]
    """

    name = "process"
    scales_by_group_std = True
    reads_token_rewards = True

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        if reward.token_PGT is None:
            return normalise(reward.total_PG)
        r = reward.token_PGT.masked_fill(reward.total_PG.isnan()[..., None], float("nan")).flatten(1)
        valid = ~r.isnan()
        scores = groups.z_scores(r, valid, population=False, eps=EPS)
        scores = torch.where(valid & groups.spread(r, valid), scores, 0.0).unflatten(1, (rollouts.G, -1))
        return scores.flip(2).cumsum(2).flip(2)
