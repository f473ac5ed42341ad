"""Half a group thinks long, half short."""

from collections.abc import Mapping, Sequence
from typing import Any

from lenrl.strategies.base import Budget, Forbidden, PromptBudget, RunInfo
from lenrl.strategies.columns import MODES


class Modes(Budget):
    """Gives the rows of a group the field `mode`, `long` and `short` in turn, and says it in the prompt.

    Source: adaptive thinking, arXiv 2505.20101; the wording is ours.

    Degenerate cases: an odd group has one long row more. The prompts of a group differ, so nothing may
    sample it from one prompt: TRL's vLLM server does and is refused.

    >>> [row.columns["mode"] for row in Modes()(["q"] * 4, [{}] * 4, 0, RunInfo(4, 4096))]
    ['long', 'short', 'long', 'short']
    """

    name = "modes"
    gives = ("mode",)
    gives_budget = False
    forbids = (
        Forbidden("vllm_mode", "server", "the server samples a whole group from one prompt, modes need two"),
    )

    long: str = "Think step by step at length before you answer."
    short: str = "Answer with as little thinking as you can."

    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        size = run_info.num_generations or len(prompt_ids)
        modes = ["long" if row % size % 2 == 0 else "short" for row in range(len(prompt_ids))]
        return [PromptBudget(hint=getattr(self, mode) or None, columns={"mode": mode}) for mode in modes]

    def ways(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], run_info: RunInfo
    ) -> dict[str, list[PromptBudget]]:
        return {word: [PromptBudget(hint=getattr(self, word) or None)] * len(prompt_ids) for word in MODES}
