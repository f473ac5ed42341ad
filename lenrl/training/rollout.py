"""What sampling gave, up to each row's own cap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lenrl.strategies.base import PromptBudget


def capped(values: Sequence[Sequence[Any]], prompt_budgets: Sequence[PromptBudget]) -> list[list[Any]]:
    """A row's tokens (or what belongs to them) up to its own cap: what sampling with that cap would have given.

    >>> capped([[5, 6, 7], [5, 6]], [PromptBudget(cap=2), PromptBudget()])
    [[5, 6], [5, 6]]
    """
    return [list(row[: given.cap]) for row, given in zip(values, prompt_budgets, strict=True)]
