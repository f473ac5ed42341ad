"""e1: a share of the usual thinking, drawn for each prompt and said in it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from lenrl.strategies import hints
from lenrl.strategies.base import Budget, PromptBudget, RunInfo

HINT = "Use about {percent} % of your usual thinking."


class Effort(Budget):
    """Draws the row field `effort` for each prompt, of `low`, `low + grid`, ... up to `high`, and says it there.

    All completions of a prompt share it; the draw is a function of (seed, prompt id, step). No token budget, no cap.

    Source: e1, arXiv 2510.27042; the distribution and the wording are ours.

    >>> [Effort()(["q0"], [{}], step, RunInfo(1, 4096))[0].columns["effort"] for step in (0, 1, 2, 3)]
    [0.7, 0.95, 0.5, 0.25]
    """

    name = "effort"
    gives = ("effort",)
    gives_budget = False

    low: float = Field(default=0.2, gt=0, le=2)  # share of the usual length
    high: float = Field(default=1.0, gt=0, le=2)
    grid: float = Field(default=0.05, gt=0)
    seed: int = 0
    hint: bool | str = True  # or a template with {percent}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"high={self.high:g} is below low={self.low:g}; swap them")
        return self

    @property
    def mean_effort(self) -> float:
        """Of the efforts asked for."""
        return (self.low + self.high) / 2

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        return [self._drawn(prompt, step) for prompt in prompt_ids]

    def _drawn(self, prompt: str, step: int) -> PromptBudget:
        values = math.floor((self.high - self.low) / self.grid + 1e-9) + 1
        effort = round(self.low + self.grid * hints.draw(values, self.seed, prompt, step), 6)
        words = hints.fill(self.hint, HINT, percent=round(100 * effort, 4))
        return PromptBudget(hint=words, columns={"effort": effort})
