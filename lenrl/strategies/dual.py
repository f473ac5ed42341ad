"""A weight that a constraint on lengths moves: the dual variable of rewards with a target."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, PrivateAttr, model_validator

from lenrl.strategies.base import Reward


class DualReward(Reward):
    """A reward whose weight of length, `lam`, rises while the batch is longer than `target` and falls else.

    `lam <- clip(lam + lr gap, low, high)` after each generation batch with a valid row; a subclass says what the gap
    is. State: lam.
    """

    target: float = Field(gt=0)  # tokens
    lam: float = Field(ge=0)  # at first
    lr: float = Field(ge=0)  # of lam, a batch
    low: float = Field(ge=0)
    high: float = Field(ge=0)

    _lam: float | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.lam <= self.high:
            raise ValueError(f"lam={self.lam:g} is not between low={self.low:g} and high={self.high:g}")
        return self

    @property
    def weight(self) -> float:
        """Lam now."""
        return float(self.lam) if self._lam is None else self._lam

    def move(self, gap: float) -> None:
        """The step of the dual variable; `gap` is above 0 where the batch is too long."""
        self._lam = float(min(max(self.weight + self.lr * gap, self.low), self.high))

    def state_dict(self) -> dict[str, Any]:
        return {"lam": self.weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        lam = float(state["lam"]) if "lam" in state else self.lam
        if not self.low <= lam <= self.high:
            raise ValueError(f"lam {lam:g} is not between low={self.low:g} and high={self.high:g}")
        self._lam = lam
