"""One range of lengths for every prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from lenrl.strategies import hints
from lenrl.strategies.base import Budget, PromptBudget, RunInfo

HINT = "Answer with {lo} to {hi} tokens."


class Interval(Budget):
    """Gives every row the fields `lo` and `hi`, the range of tokens asked for, and says it in the prompt.

    Source: LongWriter-Zero, arXiv 2506.18841, where ranges come with the prompts: data that has `lo` and
    `hi` needs no budget.

    Degenerate cases: `hi` below `lo`, or above L_max, is refused.

    >>> Interval(lo=10, hi=20)(["q"], [{}], 0, RunInfo(1, 4096))[0].columns
    {'lo': 10, 'hi': 20}
    """

    name = "interval"
    gives = ("lo", "hi")
    gives_budget = False

    lo: int = Field(default=50, ge=1)  # tokens
    hi: int = Field(default=100, ge=1)  # tokens
    hint: bool | str = True  # or a template with {lo} and {hi}

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        asked = {"lo": self.lo, "hi": self.hi}
        text = hints.fill(self.hint, HINT, **asked)
        return [PromptBudget(hint=text, columns=asked) for _ in prompt_ids]

    def errors(self, run_info: RunInfo) -> list[str]:
        if self.hi < self.lo:
            return [f"budget.hi={self.hi} is below lo={self.lo}; a range needs lo <= hi"]
        if run_info.training and self.hi > run_info.max_length:
            return [
                f"budget.hi={self.hi} is above max_completion_length={run_info.max_length}; lower budget.hi"
            ]
        return []
