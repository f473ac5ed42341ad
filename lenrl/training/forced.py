"""Tokens that completions are forced to begin with, as a budget has it: sampling goes on after them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lenrl.strategies.base import PromptBudget


@dataclass(frozen=True)
class ForcedTokens:
    """The forced tokens of a process's rows; they count as the completions', and are no part of the prompts."""

    ids: Sequence[Sequence[int]]  # of each row, none where nothing is forced
    shares: Sequence[float]  # of a row's forced tokens in its group: the chance that it got them
    wanted: bool  # the budget forces tokens, in these rows or in others

    @classmethod
    def of(
        cls, budgets: Sequence[PromptBudget], encode: Callable[..., Any], *, think_prefilled: bool
    ) -> "ForcedTokens":
        """Those of the budgets' words. `encode`: the tokenizer."""
        opening = "" if think_prefilled else "<think>\n"
        texts = [(budget.forced or "").replace("{think}", opening) for budget in budgets]
        ids = {text: encode(text, add_special_tokens=False)["input_ids"] for text in {*texts} - {""}}
        shares = [float(budget.columns.get("forced_share", 1.0)) for budget in budgets]
        return cls([ids.get(text, []) for text in texts], shares, any(b.forced is not None for b in budgets))

    def counted(self, budgets: Sequence[PromptBudget]) -> list[PromptBudget]:
        """The budgets, with the number of forced tokens as the row field `forced_tokens`."""
        if not self.wanted:
            return list(budgets)
        return [
            replace(budget, columns={**budget.columns, "forced_tokens": len(ids)})
            for budget, ids in zip(budgets, self.ids, strict=True)
        ]

    def begun(self, prompt_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        """The prompts, with the forced tokens at their ends."""
        return [[*prompt, *ids] for prompt, ids in zip(prompt_ids, self.ids, strict=True)]

    def rooms(self, caps: Sequence[int]) -> list[int]:
        """Tokens that are left to sample of each row's cap, one at least."""
        return [max(1, cap - len(ids)) for cap, ids in zip(caps, self.ids, strict=True)]

    def whole(
        self, sampled_ids: Sequence[Sequence[int]], logps: Sequence[Sequence[float]] | None
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        """Completions that were sampled after `begun`, with their forced tokens, and log-probs under who chose them.

        The first forced token was chosen with its share, the others follow from it.
        """
        completions = [[*ids, *sampled] for ids, sampled in zip(self.ids, sampled_ids, strict=True)]
        if logps is None:
            return completions, None
        rows = zip(self.ids, self.shares, logps, strict=True)
        forced = [([math.log(share), *[0.0] * len(ids)][: len(ids)], sampled) for ids, share, sampled in rows]
        return completions, [[*before, *sampled] for before, sampled in forced]
