"""A target length drawn for each prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from lenrl.strategies import hints
from lenrl.strategies.base import Budget, PromptBudget, RunInfo

HINT = "Think for {target} tokens."


class Draw(Budget):
    """Draws the row field `target` uniformly from the integers in [low, high] and says it in the prompt.

    All completions of a prompt share it. The draw is a function of (seed, prompt id, step): the same on every
    process and after a resume. It is no budget that other rewards compare with, and no cap.

    Source: L1, arXiv 2503.04697.

    Degenerate cases: `high` is L_max unless set; a `low` above it is refused.

    >>> row = Draw(low=100, high=100)(["q"], [{}], 0, RunInfo(1, 4096))[0]
    >>> row.columns, row.hint
    ({'target': 100}, 'Think for 100 tokens.')
    """

    name = "draw"
    gives = ("target",)
    gives_budget = False

    low: int = Field(default=100, ge=1)  # tokens
    high: int | None = Field(default=None, ge=1)  # tokens; None: L_max
    seed: int = 0
    hint: bool | str = True  # or a template with {target}

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        lengths = max(self.low, self.high or run_info.max_length) - self.low + 1
        targets = [self.low + hints.draw(lengths, self.seed, prompt, step) for prompt in prompt_ids]
        return [
            PromptBudget(hint=hints.fill(self.hint, HINT, target=n), columns={"target": n}) for n in targets
        ]

    def errors(self, run_info: RunInfo) -> list[str]:
        high = self.high or run_info.max_length
        messages = []
        if self.low > high and (run_info.training or self.high):
            messages.append(f"budget.low={self.low} is above high={high}; lower budget.low or raise the cap")
        if run_info.training and high > run_info.max_length:
            messages.append(
                f"budget.high={high} is above max_completion_length={run_info.max_length}: targets could not "
                "be reached; lower budget.high"
            )
        return messages
