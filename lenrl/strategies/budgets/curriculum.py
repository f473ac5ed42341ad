"""Curriculum budgets: train long, think short."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lenrl.strategies import hints
from lenrl.strategies.base import Budget, PromptBudget, RunInfo

HINT = "Use at most {budget} tokens of reasoning."


class Curriculum(Budget):
    """One budget for all prompts that tightens with the completed optimizer steps t.

    `exponential`: `max(end, start decay^floor(t / interval))`. `geometric`: `start (end / start)^(k / n)` and
    `linear`: `start - (start - end) k / n` with n = `steps` drops over `total_steps`,
    `k = min(n, floor(t / (total / (n + 1))))`. `constant`: `start`. `rounding=floor` takes `floor(B + 1e-9)`.
    The prompt states it (`hint`, and `eval_hint` in evaluations: true, false, or a template with `{budget}`).

    Source: "Train Long, Think Short", arXiv 2508.08940; the paper clamps the exponential only at 1.

    Degenerate cases: after the last drop the budget stays at `end`.

    >>> rule = Curriculum(rounding="none")
    >>> [round(rule.tokens(t, None), 3) for t in (0, 149, 150, 300, 450, 600)]
    [256.0, 256.0, 179.2, 125.44, 87.808, 87.0]
    """

    name = "curriculum"

    start: float = Field(default=256.0, ge=1)  # tokens
    end: float = Field(default=87.0, ge=1)  # tokens
    schedule: Literal["exponential", "geometric", "linear", "constant"] = "exponential"
    decay: float = Field(default=0.7, gt=0, le=1)  # an interval, exponential
    interval: int = Field(default=150, ge=1)  # optimizer steps, exponential
    steps: int = Field(default=3, ge=1)  # drops, geometric and linear
    total_steps: int | None = Field(default=None, ge=1)  # geometric and linear; None: max_steps
    rounding: Literal["floor", "nearest", "none"] = "floor"
    hint: bool | str = True
    eval_hint: bool | str = False

    @model_validator(mode="after")
    def _tightens(self) -> Self:
        if self.end > self.start and self.schedule != "constant":
            raise ValueError(
                f"end={self.end:g} is above start={self.start:g}; a curriculum tightens: lower end"
            )
        return self

    def tokens(self, step: int, max_steps: int | None) -> float:
        """B(t) after `step` completed optimizer steps, in tokens."""
        budget = self._schedule(step, max_steps)
        if self.rounding == "floor":
            return float(int(budget + 1e-9))
        return float(int(budget + 0.5)) if self.rounding == "nearest" else budget

    def _schedule(self, step: int, max_steps: int | None) -> float:
        if self.schedule == "constant":
            return self.start
        if self.schedule == "exponential":
            return max(self.end, self.start * self.decay ** (step // self.interval))
        total = self.total_steps or max_steps
        if total is None:
            raise ValueError(f"schedule={self.schedule} needs budget.total_steps or trainer.max_steps")
        k = min(self.steps, step * (self.steps + 1) // total)
        if self.schedule == "geometric":
            return self.start * (self.end / self.start) ** (k / self.steps)
        return self.start - (self.start - self.end) * k / self.steps

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        budget = self.tokens(step, run_info.max_steps)
        text = hints.fill(self.hint, HINT, budget=budget)
        return [PromptBudget(hint=text, budget=budget) for _ in prompt_ids]

    def evaluation(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        budget = self.tokens(step, run_info.max_steps)
        text = hints.fill(self.eval_hint, HINT, budget=budget)
        return [PromptBudget(hint=text) for _ in prompt_ids]

    def errors(self, run_info: RunInfo) -> list[str]:
        messages = []
        if self.schedule in ("geometric", "linear") and not (self.total_steps or run_info.max_steps):
            messages.append(f"budget.schedule={self.schedule} needs budget.total_steps or trainer.max_steps")
        if run_info.training and self.start > run_info.max_length:
            messages.append(
                f"budget.start={self.start:g} is above max_completion_length={run_info.max_length}: nothing "
                "that long can be generated; lower budget.start or raise trainer.max_completion_length"
            )
        return messages

    def warnings(self, run_info: RunInfo) -> list[str]:
        if not run_info.max_steps or self.schedule == "constant":
            return []
        last = self.tokens(run_info.max_steps - 1, run_info.max_steps)
        if last == self.tokens(0, run_info.max_steps):
            return [
                f"budget 'curriculum' never tightens: it is {last:g} tokens from the first to the last of "
                f"{run_info.max_steps} steps; lower budget.interval={self.interval}, or budget.schedule=geometric"
            ]
        return []
