"""LEAD: the weights of correctness and efficiency follow how much each still varies."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.advantages.grpo import normalise
from lenrl.strategies.base import Advantage
from lenrl.strategies.groups import NAN
from lenrl.strategies.states import number

EPS = 1e-8


class LeadDynamicAdvantage(Advantage):
    """`w grpo(correct) + (1 - w) grpo(efficiency)`, whitened over tokens; w follows the parts' spread and head-room.

    Of each part over the batch (efficiency: right rows): mean m and deviation s (within and between groups), `v = s
    / |m|` as a share of both parts', times the room left: `d_c = v_c (1 - m_c)^alpha`, `d_e = v_e (1 - (m_e + 1) /
    2)^alpha`, means clipped to [0, 1] and [-1, 1]. Target `d_c / (d_c + d_e)`, `w <- beta w + (1 - beta) target`
    from 0.5 on, this batch included, at least `w_min`. `weight`: that w always. Whitening: mean and deviation (n -
    1) over all tokens. Any other part, such as that of a reward function, is added to `correct`.

    Source: LEAD, arXiv 2605.09806. Its epsilon under `grpo` is 1e-6, ours TRL's 1e-4.

    Degenerate cases: a group flat in both parts gets 0 (in the code the whitening pushes it by minus the mean). A
    reward without these parts: its total alone. State: w. Declares `groups_leak`: weights, mean and deviation are the
    batch's, but with `weight` and without `whiten`.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> from lenrl.strategies.rewards.lead_dynamic import LeadDynamic
    >>> rule = LeadDynamicAdvantage()
    >>> show(rule(LeadDynamic()(GROUP), GROUP), 3)
    [[0.18, 1.92, -0.807, -0.4]]
    """

    name = "lead_dynamic"
    reads_verdicts = True
    scales_by_group_std = True

    alpha: float = Field(default=1.0, ge=0)
    beta: float = Field(default=0.95, ge=0, le=1)  # share of the old weight
    w_min: float = Field(default=0.3, ge=0, le=1)  # smallest weight of correctness
    weight: float | None = Field(default=None, ge=0, le=1)  # of correctness; None: it follows the batch
    whiten: bool = True

    _weight: float = PrivateAttr(default=0.5)

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        valid = ~reward.total_PG.isnan()
        correct, efficiency = _parts(reward, valid)
        w = self._share(self._joined(reward, rollouts)) if efficiency is not None else 1.0
        a = w * normalise(correct)
        moved = groups.spread(correct, valid)
        if efficiency is not None:
            a = a + (1 - w) * normalise(efficiency)
            moved = moved | groups.spread(efficiency, valid)
        if self.whiten:
            a = groups.token_whitened(a, rollouts.length_PG, valid, population=False)
        return torch.where(moved, a, 0.0)

    @property
    def declares(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The batch's weight or its deviation, where either is used."""
        return ("groups_leak",) if self.whiten or self.weight is None else ()

    def _share(self, w: float) -> float:
        return max(w, self.w_min) if self.weight is None else self.weight

    def _joined(self, reward: RewardResult, rollouts: Rollouts) -> float:
        """The weight with this batch; as it was where the batch has no valid row or the reward no parts."""
        valid = ~reward.total_PG.isnan()
        correct, efficiency = _parts(reward, valid)
        if efficiency is None or not valid.any():
            return self._weight
        (m_c, v_c), (m_e, v_e) = _spread(correct, valid), _spread(efficiency, valid & rollouts.right_PG)
        both = v_c + v_e + EPS
        d_c = v_c / both * (1 - min(max(m_c, 0.0), 1.0)) ** self.alpha
        d_e = v_e / both * (1 - (min(max(m_e, -1.0), 1.0) + 1) / 2) ** self.alpha
        return self.beta * self._weight + (1 - self.beta) * d_c / (d_c + d_e + EPS)

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        self._weight = self._joined(reward, rollouts)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        return {"lead_weight": self._share(self._weight)}

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self._weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._weight = number(state.get("weight", 0.5), "the weight", most=1)


def _parts(reward: RewardResult, valid_PG: Tensor) -> tuple[Tensor, Tensor | None]:
    """Correctness and efficiency, NaN where a row is not valid; the total and None where they are not apart."""
    correct, efficiency = reward.apart("efficiency")
    if efficiency is None:
        return correct, None
    return correct.masked_fill(~valid_PG, NAN), efficiency.masked_fill(~valid_PG, NAN)


def _spread(x_PG: Tensor, valid_PG: Tensor) -> tuple[float, float]:
    """Mean of the groups' means, and the deviation over it; both 0 without a valid row."""
    some = valid_PG.any(dim=1)
    if not some.any():
        return 0.0, 0.0
    means = groups.mean(x_PG, valid_PG)[some]
    within = groups.psd(x_PG, valid_PG)[some].square().mean()
    m = means.mean().item()
    s = (within + means.var(correction=0) + EPS).sqrt().item()
    return m, s / (abs(m) + EPS)
