"""No budget."""

from collections.abc import Mapping, Sequence
from typing import Any

from lenrl.strategies.base import Budget, PromptBudget, RunInfo


class NoBudget(Budget):
    """No hint, no cap: completions end at EOS or at L_max.

    >>> NoBudget()(["q"], [{}], 0, RunInfo(1, 4096))[0].budget is None
    True
    """

    name = "none"
    gives_budget = False

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        return [PromptBudget() for _ in prompt_ids]
