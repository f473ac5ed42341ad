"""Toggle: a budget half of the time."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import RunInfo
from lenrl.strategies.columns import tokens as tokens_column
from lenrl.strategies.prompt_memory import PromptMemory


class Toggle(PromptMemory):
    """Phases of `period` steps with and without a budget: `r = c [p < threshold or L <= B]`, then `r = c`, and so on.

    p is the group's accuracy, B the `quantile` of the prompt's right lengths (linear interpolation): of its first visit
    with a right answer, used from the next on (`source=first`), of this group (`group`), or the row field `target`
    (`column`).

    Source: Kimi K2.5, arXiv 2602.02276, section 4.4.2, which prints no value: period, threshold and quantile are ours,
    and so is `source=group`.

    Degenerate cases: no B yet: `r = c`. Accuracy equal to the threshold enforces it. State (`first`): B of each prompt.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> rule = Toggle(); rule.load_state_dict({"budget": {"q0": 3000.0}})
    >>> show(rule(GROUP.with_(step=19))), show(rule(GROUP.with_(step=20)))
    ([[1.0, 1.0, 0.0, 0.0]], [[1.0, 1.0, 0.0, 1.0]])
    """

    name = "toggle"
    remembered = "budget"

    period: int = Field(default=20, ge=1)  # optimizer steps of a phase
    threshold: float = Field(default=0.5, ge=0, le=1)  # accuracy from which the budget holds
    quantile: float = Field(default=0.5, ge=0, le=1)  # of the right lengths
    source: Literal["first", "group", "column"] = "first"

    @property
    def remembers(self) -> bool:
        """The budget is of the first visit."""
        return self.source == "first"

    @property
    def reads_columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The prompts' budgets, where the data has them."""
        return ("target",) if self.source == "column" else ()

    def __call__(self, rollouts: Rollouts) -> Tensor:
        if not self.limits(rollouts.step):
            return rollouts.correct_PG.clone()
        p = groups.mean(rollouts.right_PG.double(), rollouts.known_PG)
        over = rollouts.tokens_PG > self._budgets(rollouts)  # False where there is none
        return torch.where(
            over & (p >= self.threshold - 1e-9), rollouts.correct_PG * 0.0, rollouts.correct_PG
        )

    def limits(self, step: int) -> bool:
        """The budget holds in this phase."""
        return step // self.period % 2 == 0

    def _budgets(self, rollouts: Rollouts) -> Tensor:
        """(P, G) or (P, 1): tokens; NaN where there is no budget yet."""
        if self.source == "column":
            return tokens_column(rollouts, "target")
        if self.source == "group":
            return groups.quantile(rollouts.tokens_PG, rollouts.right_PG, self.quantile)
        return self.recalled(rollouts)

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        if not self.remembers:
            return
        found = groups.quantile(rollouts.tokens_PG, rollouts.right_PG, self.quantile).squeeze(1).tolist()
        for prompt, tokens in zip(rollouts.prompt_ids, found, strict=True):
            if not math.isnan(tokens):  # there is a right answer
                self._tokens.setdefault(prompt, tokens)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        budgets = self._budgets(rollouts)
        return {
            "toggle_limits": float(self.limits(rollouts.step)),
            "toggle_budget": groups.average(budgets, ~budgets.isnan()),
        }

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.inert("reward 'toggle'", "a budget", run_info) if self.remembers else []
