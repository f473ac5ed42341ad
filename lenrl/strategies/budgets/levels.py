"""Short, moderate or long: a level drawn for each prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

from lenrl.strategies import hints
from lenrl.strategies.base import Budget, PromptBudget, RunInfo
from lenrl.strategies.columns import LEVELS


class Levels(Budget):
    """Draws the row field `level` for each prompt and says it in the prompt.

    All completions of a prompt share it; the draw is a function of (seed, prompt id, step).

    Source: TLDR, arXiv 2505.07961; the wording is ours.

    >>> rows = Levels()(["q", "q"], [{}, {}], 0, RunInfo(2, 4096))
    >>> rows[0] == rows[1], rows[0].columns["level"] in LEVELS
    (True, True)
    """

    name = "levels"
    gives = ("level",)
    gives_budget = False

    seed: int = 0
    short: str = "Think briefly."
    moderate: str = "Think at moderate length."
    long: str = "Think at length."

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        drawn = [LEVELS[hints.draw(len(LEVELS), self.seed, prompt, step)] for prompt in prompt_ids]
        return [PromptBudget(hint=getattr(self, level) or None, columns={"level": level}) for level in drawn]

    def ways(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], run_info: RunInfo
    ) -> dict[str, list[PromptBudget]]:
        return {word: [PromptBudget(hint=getattr(self, word) or None)] * len(prompt_ids) for word in LEVELS}
