"""Rewards and advantages of logged rollouts, by the same pipeline as in training: no model, no GPU.

Lengths in the file are natural lengths; the budget's caps and the truncation cut them. A completion that is
cut to at least its `answer_length` keeps its verdict, a correct one that is cut shorter is wrong.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import torch
from torch import Tensor

from lenrl.dryrun.logged_rows import Row, grouped, read
from lenrl.dryrun.state import read_state, write_state
from lenrl.dryrun.verdicts import verdicts_of
from lenrl.errors import BadInput
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, registry
from lenrl.strategies.base import PromptBudget, RunInfo
from lenrl.strategies.method import Method

if TYPE_CHECKING:
    from lenrl.config import Recipe

DEFAULT_MAX_LENGTH = 4096  # L_max unless the command line sets it, tokens
FIELDS = ("target", "lo", "hi", "level", "mode")  # what a row's prompt was given


def main(
    recipe: Recipe,
    path: Path | str,
    *,
    step: int = 0,
    state_in: Path | str | None = None,
    state_out: Path | str | None = None,
    max_length: int | None = None,
    stream: TextIO | None = None,
) -> None:
    """`score`, written as JSON lines to `stream` (standard output) once everything has succeeded."""
    found = score(recipe, path, step=step, state_in=state_in, state_out=state_out, max_length=max_length)
    (stream or sys.stdout).write("".join(json.dumps(row) + "\n" for row in found))


def score(
    recipe: Recipe,
    path: Path | str,
    *,
    step: int = 0,
    state_in: Path | str | None = None,
    state_out: Path | str | None = None,
    max_length: int | None = None,
) -> list[dict[str, Any]]:
    """Score a file that holds one generation batch.

    Args:
        recipe: its six slots are used, its verifier for rows without verdict, `trainer.max_steps`.
        path: JSON lines, one completion each.
        step: completed optimizer steps.
        state_in, state_out: files of the strategies' state, read before and written after.
        max_length: L_max, tokens; None: 4096.

    Returns:
        A row for each line, in the file's order: prompt, length (kept), correct, budget, reward, advantage.

    Raises:
        BadInput: a bad line, an empty file, or a method that cannot work on groups of this size.
    """
    if step < 0:
        raise BadInput(f"--step {step}: completed optimizer steps must be at least 0")
    if max_length is not None and (type(max_length) is not int or max_length < 1):
        raise BadInput(f"trainer.max_completion_length={max_length!r}: needs a whole number of at least 1.")
    method = _fresh(recipe.method)
    if state_in is not None:
        method.load_state_dict(read_state(Path(state_in)))
    rows = read(Path(path))
    order = grouped(rows)
    run_info = _setting(recipe, len(order[0]), max_length or DEFAULT_MAX_LENGTH)
    problems = method.errors(run_info)
    if problems:
        raise BadInput("\n".join(problems))
    _require_fields(method, rows)

    batch, answered = _batch(recipe, method, rows, order, step=step, run_info=run_info)
    batch = _cut(batch, method.truncate(batch), answered, capped=method.truncation.caps)
    reward = method.rewards(batch, recipe.guard.nonfinite)
    advantage = method.advantages(reward, batch)
    method.observe(batch, reward)
    found = _output(rows, order, batch, reward, advantage)
    if state_out is not None:
        write_state(Path(state_out), method.state_dict())
    return found


def _fresh(method: Method) -> Method:
    """A method of its own: scoring leaves the recipe's strategies without state."""
    slots: dict[str, Any] = {slot: registry.build(slot, registry.spec(s)) for slot, s in method.slots.items()}
    return Method(**slots)


def _setting(recipe: Recipe, group_size: int, max_length: int) -> RunInfo:
    steps = recipe.trainer.get("max_steps")
    return RunInfo(
        num_generations=group_size,
        max_length=max_length,
        max_steps=steps if isinstance(steps, int) and steps > 0 else None,
        updates_per_rollout=1,
        training=False,
    )


def _require_fields(method: Method, rows: Sequence[Row]) -> None:
    """What the strategies read must be in every line: only the log knows what its prompts were given."""
    needed = {
        name: f"{method.reward.name!r} reads what the prompt was given" for name in method.reads_columns
    }
    if method.needs_logp:
        needed["mean_logp"] = f"advantage {method.advantage.name!r} weighs by the mean token log-prob"
    for row in rows:
        for name, why in needed.items():
            if name not in row.given:
                raise BadInput(f"line {row.line}: field {name!r} is missing; {why}")
        judged = "correct" in row.given or row.unknown or {"text", "answer"} <= row.given.keys()
        if method.reads_verdicts and not judged:
            raise BadInput(
                f"line {row.line}: field 'correct' is missing, and there are no 'text' and 'answer' to "
                "verify; this method reads verdicts: give true, false or null"
            )


def _batch(
    recipe: Recipe,
    method: Method,
    rows: list[Row],
    order: list[list[int]],
    *,
    step: int,
    run_info: RunInfo,
) -> tuple[Rollouts, Tensor]:
    """The rollouts after the budget's caps, and the tokens (P, G) after which each answer is complete."""
    verdicts = verdicts_of(recipe, method, rows)
    flat = [index for members in order for index in members]
    allowed = method.budgets([rows[i].prompt for i in flat], [rows[i].given for i in flat], step, run_info)

    def table(values: Sequence[Any], dtype: torch.dtype) -> Tensor:
        return torch.tensor(list(values), dtype=dtype).reshape(len(order), -1)

    def flag(name: str, default: bool) -> Tensor:
        return table([verdicts[i].get(name, default) for i in flat], torch.bool)

    columns = {
        name: tuple(tuple(rows[i].given[name] for i in members) for members in order)
        for name in FIELDS
        if all(name in row.given for row in rows)
    }
    mean_logp = [row.given.get("mean_logp", math.nan) for row in rows]
    lengths = table([rows[i].length for i in flat], torch.int64)
    natural = Rollouts(
        prompt_ids=tuple(rows[members[0]].prompt for members in order),
        length_PG=lengths,
        correct_PG=table([verdicts[i].get("correct", math.nan) for i in flat], torch.float64),
        max_length=run_info.max_length,
        step=step,
        truncated_PG=table([rows[i].given.get("truncated", False) for i in flat], torch.bool),
        formatted_PG=flag("formatted", True),
        think_tags_PG=flag("think_tags", True),
        answer_tags_PG=flag("answer_tags", True),
        budget_PG=_budgets(allowed, len(order)),
        mean_logp_PG=table([mean_logp[i] for i in flat], torch.float64) if method.needs_logp else None,
        columns=columns,
    )
    answered = table([rows[i].given.get("answer_length", rows[i].length) for i in flat], torch.int64)
    caps = table([run_info.max_length if a.cap is None else a.cap for a in allowed], torch.int64)
    has_cap = table([a.cap is not None for a in allowed], torch.bool)
    kept = torch.where(has_cap, torch.minimum(lengths, caps), lengths)
    sampled = _cut(natural, kept, answered, capped=True)
    as_sampled = {"sampled_length_PG": sampled.length_PG, "sampled_correct_PG": sampled.correct_PG}
    return sampled.with_(**as_sampled), answered


def _cut(batch: Rollouts, kept: Tensor, answered: Tensor, *, capped: bool) -> Rollouts:
    """The batch with shorter completions; those cut before their answer is complete lose it."""
    lost = (kept < batch.length_PG) & (kept < answered)
    correct = torch.where(lost & batch.known_PG, 0.0, batch.correct_PG)
    return batch.with_(
        length_PG=kept,
        correct_PG=correct,
        formatted_PG=batch.formatted_PG & ~lost,
        answer_tags_PG=batch.answer_tags_PG & ~lost,
        truncated_PG=batch.truncated_PG | (kept < batch.length_PG) if capped else batch.truncated_PG,
    )


def _budgets(allowed: Sequence[PromptBudget], prompts: int) -> Tensor | None:
    budgets = [math.nan if a.budget is None else float(a.budget) for a in allowed]
    if all(math.isnan(budget) for budget in budgets):
        return None
    return torch.tensor(budgets, dtype=torch.float64).reshape(prompts, -1)


def _output(
    rows: Sequence[Row], order: list[list[int]], batch: Rollouts, reward: RewardResult, advantage: Tensor
) -> list[dict[str, Any]]:
    pushed = groups.token_mean(advantage, batch.length_PG)
    budgets = batch.budget_PG if batch.budget_PG is not None else torch.full_like(pushed, math.nan)
    columns = (batch.length_PG, batch.correct_PG, budgets, reward.total_PG, pushed)
    length, correct, budget, paid, push = (column.flatten().tolist() for column in columns)
    found: list[dict[str, Any]] = [{}] * len(rows)
    for place, index in enumerate(index for members in order for index in members):
        found[index] = {
            "prompt": rows[index].prompt,
            "length": length[place],
            "correct": None if math.isnan(correct[place]) else correct[place] > 0.5,
            "budget": None if math.isnan(budget[place]) else budget[place],
            "reward": None if math.isnan(paid[place]) else paid[place],
            "advantage": push[place],
        }
    return found
