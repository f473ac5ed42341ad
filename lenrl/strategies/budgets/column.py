"""The budget that the data gives each prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from lenrl.errors import BadInput
from lenrl.strategies import hints
from lenrl.strategies.base import Budget, PromptBudget, RunInfo

HINT = "Use at most {budget} tokens of reasoning."


class Column(Budget):
    """Reads each row's budget, in tokens, from a field of the data and says it in the prompt.

    With `truncation: hard_cap` the budget cuts, else rewards compare with it.

    Source: budgets annotated in the data, as in token-budget-aware reasoning, arXiv 2412.18547.

    Degenerate cases: a row without the field, or one that is not above 0, is refused.

    >>> Column()(["q"], [{"target": 300}], 0, RunInfo(1, 4096))[0].budget
    300.0
    """

    name = "column"

    field: str = Field(default="target", min_length=1)
    hint: bool | str = True  # or a template with {budget}

    @property
    def reads_columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The field that holds the budget."""
        return (self.field,)

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        budgets = [self._read(prompt, row) for prompt, row in zip(prompt_ids, columns, strict=True)]
        return [PromptBudget(hint=hints.fill(self.hint, HINT, budget=n), budget=n) for n in budgets]

    def _read(self, prompt: str, row: Mapping[str, Any]) -> float:
        value = row.get(self.field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise BadInput(
                f"prompt {prompt!r}: field {self.field!r} is {value!r}, a budget must be above 0 tokens"
            )
        return float(value)
