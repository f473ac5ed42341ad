"""Prompts that are neither solved nor hopeless."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from lenrl.errors import BadInput, RunFailed
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import warnings
from lenrl.strategies.base import RunInfo
from lenrl.strategies.hints import draw
from lenrl.strategies.prompt_rates import PromptRates


class PassRateBand(PromptRates):
    """A pass over the data leaves out the prompts whose running pass rate is outside `low` to `high`.

    One left out comes back about every `revisit`-th pass, drawn for each prompt and pass from `seed`. Before a prompt's
    first visit its `column` decides, a pass rate from 0 to 1; without one it is visited.

    Source: the band of MAI-Thinking-1's report, 0.05 to 0.8; memory and the way back are ours.

    Degenerate cases: a band that no prompt is in: refused, with the rates that there are.

    >>> rule = PassRateBand(revisit=0); rule.load_state_dict({"rates": {"a": 1.0, "b": 0.5}})
    >>> rule.choose(["a", "b", "new"], [{}, {}, {}], 1)
    ['b', 'new']
    """

    name = "pass_rate_band"

    low: float = Field(default=0.05, ge=0, le=1)
    high: float = Field(default=0.8, ge=0, le=1)
    revisit: int = Field(default=4, ge=0)  # passes; 0: what is left out stays out
    seed: int = 0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"high={self.high:g} is below low={self.low:g}; swap them")
        return self

    def choose(self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], turn: int) -> list[str]:
        rates = [self._rate(name, row) for name, row in zip(prompt_ids, columns, strict=True)]
        chosen = [
            name
            for name, rate in zip(prompt_ids, rates, strict=True)
            if rate is None or self._inside(rate) or self._due(name, turn)
        ]
        if not chosen:
            known = [rate for rate in rates if rate is not None]
            raise RunFailed(
                f"sampling.low={self.low:g}, high={self.high:g}: the pass rates of all {len(known)} prompts are "
                f"outside, from {min(known):.3g} to {max(known):.3g}, and pass {turn + 1} over the data has none to "
                "visit. Widen the band, set sampling.revisit=1, or train on other problems."
            )
        return chosen

    def _rate(self, prompt: str, row: Mapping[str, Any]) -> float | None:
        """The running pass rate, else the data's; None: neither is known."""
        value = self._rates.get(prompt, row.get(self.column) if self.column else None)
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise BadInput(
                f"field {self.column!r} of prompt {prompt!r} is {value!r:.60}, must be a pass rate from 0 to 1"
            )
        return value

    def _inside(self, rate: float) -> bool:
        return self.low <= rate <= self.high

    def _due(self, prompt: str, turn: int) -> bool:
        return bool(self.revisit) and draw(self.revisit, self.seed, prompt, turn) == 0

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        rates = self._rates.values()
        return {"band_share": sum(map(self._inside, rates)) / len(rates) if rates else None}

    def warnings(self, run_info: RunInfo) -> list[str]:
        return [] if self.column else warnings.inert("sampling 'pass_rate_band'", "a pass rate", run_info)
