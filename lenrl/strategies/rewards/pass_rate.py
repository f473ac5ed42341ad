"""A price of length that is the group's accuracy."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo


class PassRate(Reward):
    """The easier the prompt, the dearer a token: `r = c - weight p L / span`, p the group's accuracy.

    `span` is L_max (`scale=cap`), the group's longest valid completion (`group`) or its longest right one (`correct`).
    `gated`: only right completions pay. Parts `correct` and `length`. The recipe pairs it with `advantage: dr_grpo`.

    Source: MAI-Thinking-1 report, 2026 (`cap`); prime-rl (`group`); NeMo-RL (`correct`, gated, weight 0.2).

    Degenerate cases: a group that nobody solves pays nothing; p is over valid rows; a span below 1 counts as 1.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(PassRate()(GROUP).total_PG, 6)
    [[0.954224, 0.908447, -0.137329, 0.816895]]
    >>> show(PassRate(gated=True, scale="correct", weight=0.2)(GROUP).total_PG)
    [[0.9625, 0.925, 0.0, 0.85]]
    """

    name = "pass_rate"

    weight: float = Field(default=0.25, ge=0, le=1)  # price of a whole span at p = 1
    gated: bool = False
    scale: Literal["cap", "group", "correct"] = "cap"

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        p = groups.mean(rollouts.right_PG.double(), rollouts.known_PG)
        length = -self.weight * p * rollouts.tokens_PG / self._span(rollouts)
        if self.gated:
            length = torch.where(rollouts.right_PG, length, 0.0)
        return RewardResult.of_parts(correct=rollouts.correct_PG, length=length)

    def _span(self, rollouts: Rollouts) -> Tensor:
        """(P, 1): tokens that cost `weight p`."""
        if self.scale == "cap":
            return torch.full((rollouts.P, 1), float(max(rollouts.max_length, 1)), dtype=torch.float64)
        among = rollouts.known_PG if self.scale == "group" else rollouts.right_PG
        return groups.highest(rollouts.tokens_PG, among).clamp(min=1.0)

    def warnings(self, run_info: RunInfo) -> list[str]:
        messages = warnings.cancels(self.name, "weight", "all-correct", run_info)
        return messages if self.gated else [*messages, warnings.ungated(self.name)]
