"""Samples as many prompts as the recent past says are needed."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from pydantic import Field, PrivateAttr, model_validator
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import Sampling
from lenrl.strategies.states import number


class Predictive(Sampling):
    """Oversamples by the inverse of the share of groups with signal, and keeps the first informative ones.

    Over the last `window` shares of groups with differing rewards (after the cut): factor = `initial` if
    there are none, else `(1 + psd) / mean`, `high` if the mean is 0, clipped to [low, high].

    Source: DOT, arXiv 2601.03969.

    Degenerate cases: fewer informative groups than prompts: those there are, the caller fills up with rows of
    weight 0; none: an empty answer, recorded as 0. State: the window.

    >>> rule = Predictive()
    >>> rule.factor()
    1.5
    >>> rule.load_state_dict({"history": [0.4, 0.6]}); round(rule.factor(), 6)
    2.2
    >>> rule.keep(torch.tensor([False, True, True, True]), 2).tolist()
    [1, 2]
    """

    name = "predictive"

    window: int = Field(default=20, ge=1)  # rollouts
    initial: float = Field(default=1.5, ge=1)
    low: float = Field(default=1.2, ge=1)
    high: float = Field(default=5.0, ge=1)

    _history: list[float] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"high={self.high:g} is below low={self.low:g}; swap them")
        return self

    def factor(self) -> float:
        if not self._history:
            return min(max(self.initial, self.low), self.high)
        shares = torch.tensor(self._history, dtype=torch.float64)
        if shares.mean() == 0:
            return self.high
        factor = (1 + shares.std(correction=0)) / shares.mean()
        return float(factor.clamp(self.low, self.high))

    def keep(self, signal_P: Tensor, prompts: int) -> Tensor:
        return signal_P.nonzero().squeeze(1)[:prompts]

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        signal_P = self.signal(rollouts, reward)
        self._history = [*self._history, signal_P.double().mean().item()][-self.window :]

    def state_dict(self) -> dict[str, Any]:
        return {"history": list(self._history)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        history = [number(share, "a share of the history", most=1) for share in state.get("history", ())]
        self._history = history[-self.window :]
