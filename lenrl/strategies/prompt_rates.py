"""Pass rates of prompts, as rules know them that choose prompts by them."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Sampling
from lenrl.strategies.states import number


class PromptRates(Sampling):
    """A choice of prompts by their running pass rates: at each visit `rate <- memory rate + (1 - memory) p`.

    p is the share of right among the group's known verdicts, and the rate of the first visit. State: rates by prompt.
    """

    reads_verdicts: ClassVar[bool] = True

    memory: float = Field(default=0.5, ge=0, lt=1)  # share of the former rate in the new one
    column: str | None = None  # row field that the choice goes by before there is a rate
    drop_flat: bool = False  # groups of one reward leave the update, as with sampling=drop_flat

    _rates: dict[str, float] = PrivateAttr(default_factory=dict)

    @property
    def reads_columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The field that the data has of each prompt, if one is named."""
        return (self.column,) if self.column else ()

    @property
    def selects(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Groups may leave the update."""
        return self.drop_flat

    def factor(self) -> float:
        return 1.0

    def keep(self, signal_P: Tensor, prompts: int) -> Tensor:
        kept_P = signal_P if self.drop_flat else torch.ones_like(signal_P)
        return kept_P.nonzero().squeeze(1)[:prompts]

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        rates, known = dict(self._rates), rollouts.known_PG
        accuracy = groups.mean(rollouts.correct_PG, known).squeeze(1).tolist()
        for prompt, p in zip(rollouts.prompt_ids, accuracy, strict=True):
            if not math.isnan(p):
                former = rates.get(prompt)
                rates[prompt] = p if former is None else self.memory * former + (1 - self.memory) * p
        self._rates = rates

    def state_dict(self) -> dict[str, Any]:
        return {"rates": self._rates}

    def snapshot(self) -> dict[str, Any]:
        return self.state_dict()  # `observe` makes it anew

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        rates = state.get("rates", {})
        self._rates = {prompt: number(rate, "a pass rate", most=1) for prompt, rate in rates.items()}
