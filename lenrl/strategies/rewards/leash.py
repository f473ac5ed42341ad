"""LEASH: length as a constraint, with a weight that follows it."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import RunInfo
from lenrl.strategies.dual import DualReward


class Leash(DualReward):
    """Right is +1, wrong -1, and tokens above the target cost `lam` a target's length, within -1 and 1.

    `r = clip(s - lam max(0, L / target - 1), -1, 1)`. After the batch `lam <- clip(lam + lr (M / target - 1), low,
    high)`, M the mean length of its valid rows (`constraint=max`: the longest). The clip gates it: no wrong answer pays
    for its length.

    Source: LEASH, arXiv 2512.21540; one-sided, as its code runs.

    Degenerate cases: a right answer with `lam excess >= 2` is worth a wrong one. A batch without valid rows moves
    nothing. State: lam.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> rule = Leash(target=2000, lam=0.5)
    >>> show(rule(GROUP))
    [[1.0, 1.0, -1.0, 0.5]]
    >>> rule.observe(GROUP, RewardResult(GROUP.correct_PG)); round(rule.state_dict()["lam"], 6)
    0.505
    """

    name = "leash"

    target: float = Field(default=4096, gt=0)  # tokens
    lam: float = Field(default=0.01, ge=0)  # at first
    lr: float = Field(default=0.02, ge=0)  # of lam, a batch
    low: float = Field(default=0, ge=0)
    high: float = Field(default=2, ge=0)
    constraint: Literal["average", "max"] = "average"

    def __call__(self, rollouts: Rollouts) -> Tensor:
        excess = (rollouts.tokens_PG / self.target - 1).clamp(min=0.0)
        return (2 * rollouts.correct_PG - 1 - self.weight * excess).clamp(-1.0, 1.0)

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        lengths = rollouts.tokens_PG[rollouts.known_PG]
        if lengths.numel():
            length = lengths.mean() if self.constraint == "average" else lengths.max()
            self.move(length.item() / self.target - 1)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        excess = (rollouts.tokens_PG / self.target - 1).clamp(min=0.0)
        return {
            "leash_lam": self.weight,
            "leash_excess": groups.average(excess, rollouts.known_PG),
            "leash_over_share": groups.average(excess > 0, rollouts.known_PG),
        }

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.cancels(self.name, "lam", "all-correct", run_info)
