"""Groups without signal are dropped."""

from typing import Literal

from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Sampling


class DropFlat(Sampling):
    """Sample the prompts of the step, keep only the groups whose rewards differ.

    `by=verdict`: whose verdicts differ, as DLER's code has it, which filters before it takes off for what is
    unfinished.

    Source: dynamic sampling without a refill, DAPO, arXiv 2503.14476, section 3.2; DLER, arXiv 2510.15110.

    Degenerate cases: no group with signal: an empty answer, and the step leaves the weights as they are.

    >>> import torch
    >>> DropFlat().keep(torch.tensor([False, True, False, True]), 4).tolist()
    [1, 3]
    """

    name = "drop_flat"

    by: Literal["reward", "verdict"] = "reward"  # what has to differ

    @property
    def reads_verdicts(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Verdicts must be known where they decide."""
        return self.by == "verdict"

    def signal(self, rollouts: Rollouts, reward: RewardResult) -> Tensor:
        if self.by == "reward":
            return super().signal(rollouts, reward)
        return groups.spread(rollouts.correct_PG, rollouts.known_PG).squeeze(1)

    def factor(self) -> float:
        return 1.0

    def keep(self, signal_P: Tensor, prompts: int) -> Tensor:
        return signal_P.nonzero().squeeze(1)[:prompts]
