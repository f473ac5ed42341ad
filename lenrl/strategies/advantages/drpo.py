"""DRPO: correct and wrong completions are weighted apart, so no correct one is ever pushed down."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Advantage, Forbidden


class Drpo(Advantage):
    """Correct completions share +G by shortness, wrong ones share -G by likelihood.

    In mixed groups (at least one correct and one wrong): `A = +G * softmax(l(L) / lam)` over the correct
    ones with `l(x) = 1 - x`, `1 - x^2` or `0.5 + 0.5 cos(pi x)`, `x = L / max_length` (linear: `softmax(-L
    / (lam * max_length))`), and `A = -G * softmax(s / tau)` over the wrong ones, `s` the mean token
    log-prob under the sampling policy. All other groups get 0. `max_length` is a constant, L_max unless
    set, never the padded width of a batch.

    Source: "Decoupled Reward Policy Optimization", arXiv 2510.04474.

    Degenerate cases: a row of length 0 or with an unknown verdict is in neither set. `cosine` turns up
    again beyond `max_length`, so x is held at 1 there. It reads verdicts; of the rewards only whether they
    are NaN.

    >>> from lenrl.strategies.examples import groups, show
    >>> batch = groups([[100, 200, 400, 300, 500, 800]], [[1, 1, 1, 0, 0, 0]], max_length=1000,
    ...                mean_logp_PG=[[-.4, -.5, -.6, -.7, -.3, -.9]])
    >>> show(Drpo()(RewardResult(batch.correct_PG), batch), 6)
    [[4.232307, 1.556979, 0.210714, -1.986091, -2.067145, -1.946764]]
    """

    name = "drpo"
    reads_verdicts = True
    reads_rewards = False
    needs_logp = True
    forbids = (
        Forbidden(
            "mask_truncated_completions",
            True,
            "a wrong answer that was cut off is a wrong answer; leave it out",
        ),
    )

    lam: float = Field(default=0.1, gt=0)  # small: the shortest correct completion takes all
    tau: float = Field(default=10.0, gt=0)  # small: the likeliest wrong completion takes all
    max_length: int | None = Field(default=None, gt=0)  # tokens; None: L_max
    length_reward: Literal["linear", "concave", "cosine"] = "linear"

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        if rollouts.mean_logp_PG is None:
            raise ValueError("advantage 'drpo' needs mean_logp_PG, the mean token log-prob when sampling")
        right, wrong = _sets(reward, rollouts)
        up = groups.softmax(self._length_reward(rollouts) / self.lam, right)
        down = groups.softmax(rollouts.mean_logp_PG.to(torch.float64) / self.tau, wrong)
        return torch.where(_mixed(right, wrong), rollouts.G * (up - down), 0.0)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        return {"drpo_mixed_share": _mixed(*_sets(reward, rollouts)).double().mean().item()}

    def _length_reward(self, rollouts: Rollouts) -> Tensor:
        x = rollouts.tokens_PG / (self.max_length or rollouts.max_length)
        if self.length_reward == "concave":
            return 1 - x.square()
        if self.length_reward == "cosine":
            return 0.5 + 0.5 * torch.cos(math.pi * x.clamp(max=1.0))
        return 1 - x


def _sets(reward: RewardResult, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
    """bool (P, G): the correct and the wrong completions that count."""
    counted = (rollouts.length_PG > 0) & ~reward.total_PG.isnan()
    return rollouts.right_PG & counted, rollouts.wrong_PG & counted


def _mixed(right_PG: Tensor, wrong_PG: Tensor) -> Tensor:
    """bool (P, 1): the group has both."""
    return right_PG.any(dim=1, keepdim=True) & wrong_PG.any(dim=1, keepdim=True)
