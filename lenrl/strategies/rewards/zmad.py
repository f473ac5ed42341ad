"""Outliers of a group's right lengths are paid a little less."""

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Reward, RunInfo


class Zmad(Reward):
    """Right completions that are far longer than their group's right ones lose `penalty`.

    `z = 0.6745 (L - median) / MAD` over the group's right lengths, MAD the median of `|L - median|`; right ones with `z
    > threshold` get `max(0, 1 - penalty)`, all others `c`.

    Source: NeMo-RL, `length_penalty.py`, its outlier penalty; penalty and threshold are its example's.

    Degenerate cases: fewer than two right completions, MAD = 0 or `MAD / max(median, 1e-9) < tolerance`: plain 0/1.

    >>> from lenrl.strategies.examples import groups, show
    >>> lengths = [[900, 950, 1000, 1050, 1100, 2000, 500, 9000]]
    >>> show(Zmad()(groups(lengths, [[1] * 7 + [0]])))
    [[1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 1.0, 0.0]]
    """

    name = "zmad"

    penalty: float = Field(default=0.1, ge=0, le=1)
    threshold: float = Field(default=2.5, ge=0)  # deviations
    tolerance: float = Field(default=0.015, ge=0)  # MAD over median, below which lengths count as equal

    def __call__(self, rollouts: Rollouts) -> Tensor:
        outliers = self.outliers(rollouts)
        return torch.where(outliers, max(0.0, 1 - self.penalty), rollouts.correct_PG)

    def outliers(self, rollouts: Rollouts) -> Tensor:
        """bool (P, G): the right completions that are too long for their group."""
        tokens, right = rollouts.tokens_PG, rollouts.right_PG
        median = groups.quantile(tokens, right, 0.5)
        mad = groups.quantile((tokens - median).abs(), right, 0.5)
        spread = (groups.count(right) >= 2) & (mad > 0) & (mad / median.clamp(min=1e-9) >= self.tolerance)
        return right & spread & (0.6745 * (tokens - median) > self.threshold * mad)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        return {"zmad_outlier_share": groups.average(self.outliers(rollouts), rollouts.right_PG)}

    def errors(self, run_info: RunInfo) -> list[str]:
        if run_info.num_generations != 2 or self.threshold < 0.6745:
            return []
        return [
            f"reward 'zmad' can never fire with G=2: of two right completions the longer one has z = 0.6745, and "
            f"reward.threshold={self.threshold:g}; set num_generations to at least 3"
        ]
