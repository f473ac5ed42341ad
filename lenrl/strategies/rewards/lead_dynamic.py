"""LEAD: an efficiency around the mean right length, kept apart from correctness."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Reward


class LeadDynamic(Reward):
    """Correctness and an efficiency by the distance from a target, parts `correct` and `efficiency`.

    Target: `aggregate` of the group's right lengths, within [`low`, `high`]. With `x = L / target`, `shape=symmetric`:
    `max(-1, 1 - |x - 1|)` for every valid row; `asymmetric`: right `max(0, 1 - x)`, 0 below `suspicious` tokens, wrong
    `clip(1 - x, -1, 0)`; `upper`: `clip(1 - x, -1, 0)`. `advantage: lead_dynamic` weighs the parts; the sum is
    logged.

    Source: LEAD, arXiv 2605.09806.

    Degenerate cases: no right completion: efficiency 0 in the whole group (the code pays such groups for nearing the
    cap). Declares `monotone_length`: up to the target more tokens pay more, and under
    `asymmetric` from `suspicious` on; not under `upper`.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(LeadDynamic()(GROUP).parts["efficiency"], 6)
    [[0.428571, 0.857143, 0.714286, 0.285714]]
    >>> show(LeadDynamic(shape="asymmetric")(GROUP).parts["efficiency"], 6)
    [[0.571429, 0.142857, -0.285714, 0.0]]
    """

    name = "lead_dynamic"

    shape: Literal["symmetric", "asymmetric", "upper"] = "symmetric"
    aggregate: Literal["mean", "median", "min"] = "mean"
    low: float = Field(default=1000, gt=0)  # tokens
    high: float | None = Field(default=None, gt=0)  # tokens; None: L_max
    suspicious: float = Field(default=500, ge=0)  # tokens below which `asymmetric` pays no brevity

    @property
    def declares(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The pay that rises with the length: to the target, or where suspicion ends."""
        rises = self.shape == "symmetric" or (self.shape == "asymmetric" and self.suspicious > 0)
        return ("monotone_length",) if rises else ()

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        right, correct, tokens = rollouts.right_PG, rollouts.correct_PG, rollouts.tokens_PG
        x = tokens / self.target(rollouts)
        if self.shape == "symmetric":
            efficiency = (1 - (x - 1).abs()).clamp(min=-1.0)
        elif self.shape == "upper":
            efficiency = (1 - x).clamp(-1.0, 0.0)
        else:
            brevity = torch.where(tokens < self.suspicious, 0.0, (1 - x).clamp(min=0.0))
            efficiency = torch.where(right, brevity, (1 - x).clamp(-1.0, 0.0))
        efficiency = torch.where(right.any(dim=1, keepdim=True) & rollouts.known_PG, efficiency, 0.0)
        return RewardResult.of_parts(correct=correct, efficiency=efficiency)

    def target(self, rollouts: Rollouts) -> Tensor:
        """(P, 1): tokens; NaN without a right completion."""
        tokens, right = rollouts.tokens_PG, rollouts.right_PG
        if self.aggregate == "mean":
            aim = groups.mean(tokens, right)
        else:
            aim = groups.quantile(tokens, right, 0.5 if self.aggregate == "median" else 0.0)
        high = self.high or float(rollouts.max_length)
        return aim.clamp(min=min(self.low, high), max=high)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        target = self.target(rollouts)
        return {"lead_target": groups.average(target, ~target.isnan())}
