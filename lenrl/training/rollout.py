"""From sampled token ids to one `Rollouts` record that every process holds identically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lenrl.rollouts import Rollouts, Verdict
from lenrl.strategies.base import PromptBudget

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Row:
    """One completion with all that strategies may know of it; small, since every process gets every row."""

    prompt_id: str
    length: int  # tokens sampled, EOS counted
    truncated: bool
    verdict: Verdict
    prompt_budget: PromptBudget
    columns: Mapping[str, Any]  # what the data says of the prompt


def capped(values: Sequence[Sequence[Any]], prompt_budgets: Sequence[PromptBudget]) -> list[list[Any]]:
    """A row's tokens (or what belongs to them) up to its own cap: what sampling with that cap would have given.

    >>> capped([[5, 6, 7], [5, 6]], [PromptBudget(cap=2), PromptBudget()])
    [[5, 6], [5, 6]]
    """
    return [list(row[: given.cap]) for row, given in zip(values, prompt_budgets, strict=True)]


def build_rollouts(rows: Sequence[Row], num_generations: int, max_length: int, step: int) -> Rollouts:
    """Rows of the whole generation batch, in batch order, to a record with axes (P, G)."""
    P = len(rows) // num_generations
    shape = (P, num_generations)

    def grid(values: Sequence[Any], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype).reshape(shape)

    groups = [rows[p * num_generations : (p + 1) * num_generations] for p in range(P)]
    for group in groups:
        if len({row.prompt_id for row in group}) != 1:
            found = sorted({row.prompt_id for row in group})
            raise AssertionError(f"a group mixes the prompts {found}: the sampler and the gathering disagree")
    nan = float("nan")
    budgets = [nan if row.prompt_budget.budget is None else float(row.prompt_budget.budget) for row in rows]
    names = sorted({name for row in rows for name in (*row.columns, *row.prompt_budget.columns)})
    columns = {
        name: tuple(
            tuple(row.prompt_budget.columns.get(name, row.columns.get(name)) for row in group)
            for group in groups
        )
        for name in names
    }
    return Rollouts(
        prompt_ids=tuple(group[0].prompt_id for group in groups),
        length_PG=grid([row.length for row in rows], torch.int64),
        correct_PG=grid([_number(row.verdict.correct) for row in rows], torch.float64),
        max_length=max_length,
        step=step,
        truncated_PG=grid([row.truncated for row in rows], torch.bool),
        formatted_PG=grid([row.verdict.formatted for row in rows], torch.bool),
        think_tags_PG=grid([row.verdict.think_tags for row in rows], torch.bool),
        answer_tags_PG=grid([row.verdict.answer_tags for row in rows], torch.bool),
        budget_PG=grid(budgets, torch.float64),
        columns=columns,
    )


def after_cut(rollouts: Rollouts, kept_PG: Tensor, verdicts: Sequence[Verdict], caps: bool) -> Rollouts:
    """The record once the cut rows were verified again; `verdicts` are theirs, in batch order.

    `caps`: the cut stands for a cap on generation, so what it cut counts as truncated.
    """
    cut_PG = kept_PG < rollouts.length_PG

    def put(name: str, values: Sequence[Any]) -> Tensor:
        grid = getattr(rollouts, name).clone()
        grid[cut_PG] = torch.tensor(values, dtype=grid.dtype)
        return grid

    return rollouts.with_(
        length_PG=kept_PG,
        correct_PG=put("correct_PG", [_number(v.correct) for v in verdicts]),
        formatted_PG=put("formatted_PG", [v.formatted for v in verdicts]),
        think_tags_PG=put("think_tags_PG", [v.think_tags for v in verdicts]),
        answer_tags_PG=put("answer_tags_PG", [v.answer_tags for v in verdicts]),
        truncated_PG=rollouts.truncated_PG | cut_PG if caps else rollouts.truncated_PG,
    )


def _number(correct: bool | None) -> float:
    return float("nan") if correct is None else float(correct)
