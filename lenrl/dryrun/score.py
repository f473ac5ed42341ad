"""Rewards and advantages of logged rollouts, by the same pipeline as in training: no model, no GPU.

Lengths in the log are natural lengths; the budget's caps and the truncation cut them. No text is cut: the line's
`answer_length`, the tokens after which the answer is complete (all of them where it is not given), says what is lost.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lenrl.dryrun.logged_batches import Batch, read
from lenrl.dryrun.logged_rows import LoggedRow
from lenrl.dryrun.logged_verdicts import after_cut, read_verdicts, require_fields, verifier_of_task
from lenrl.dryrun.state_files import fresh, write_state
from lenrl.errors import BadInput
from lenrl.rollouts import StepScore, Verdict
from lenrl.strategies import groups, scoring
from lenrl.strategies.base import PromptBudget, RunInfo
from lenrl.strategies.diagnostics import diagnose
from lenrl.strategies.length_figures import thinking_figures
from lenrl.strategies.method import Method

if TYPE_CHECKING:
    from lenrl.config import Recipe

DEFAULT_MAX_LENGTH = 4096  # L_max where neither the command line nor the log gives it, tokens
FIELDS = ("target", "lo", "hi", "level", "mode", "effort")  # what a row's prompt was given
SCORED = ("budget", "truncation", "reward", "advantage")  # slots that scoring goes through

Entry = dict[str, object]


def score(
    recipe: Recipe,
    source: Path | Sequence[Mapping[str, Any]],
    *,
    method: Method | None = None,
    step: int | None = None,
    state_in: Path | None = None,
    state_out: Path | None = None,
    max_length: int | None = None,
    figures: bool = False,
) -> list[Entry]:
    """Score logged generation batches, one after the other: the strategies' state goes on from each to the next.

    Args:
        recipe: its slots, weights of reward functions (a line has their values), verifier, `trainer.max_steps`.
        source: as `logged_batches.read` takes it.
        method: in the place of the recipe's.
        step: completed optimizer steps; None: as a run's completions say, else 0.
        state_in, state_out: files of the strategies' state, read before and written after.
        max_length: L_max, tokens; None: that of the run whose completions they are, else 4096.
        figures: of each batch, and of its groups of each size, instead of a row a completion.

    Returns:
        A row for each completion, in the log's order: prompt, length (kept), correct, budget, reward, advantage; of a
        run's completions first `step`, the first one that they fed.

    Raises:
        BadInput: a bad row, an empty log, or a method that cannot work on groups of these sizes.
    """
    _require_counts(step, max_length)
    method = fresh(method or recipe.method, state_in)
    batches = read(source)
    if step is not None and len(batches) > 1:
        raise BadInput(
            f"--step {step}: {source} holds {len(batches)} batches, each of which says its own step; leave it out, or "
            "give one file"
        )
    entries: list[Entry] = []
    for batch in batches:
        known = batch.step if step is None else step
        longest = max_length or batch.max_length or DEFAULT_MAX_LENGTH
        of_run = {} if batch.step is None else {"step": batch.step + 1}
        found = _score_batch(recipe, method, batch, known or 0, longest, figures)
        entries += [of_run | entry for entry in found]
    if state_out is not None:
        write_state(state_out, method.state_dict())
    return entries


def _require_counts(step: int | None, max_length: int | None) -> None:
    if step is not None and step < 0:
        raise BadInput(f"--step {step}: completed optimizer steps must be at least 0")
    if max_length is not None and (type(max_length) is not int or max_length < 1):
        raise BadInput(f"trainer.max_completion_length={max_length!r}: needs a whole number of at least 1.")


def _score_batch(
    recipe: Recipe, method: Method, batch: Batch, step: int, max_length: int, figures: bool
) -> list[Entry]:
    """Rows of the output, in the batch's order. Groups of one size are scored together, those of others apart."""
    sizes = batch.by_size()
    if len(sizes) > 1:
        _require_groups_apart(method, sizes)
    infos = {size: _run_info(recipe, size, max_length) for size in sizes}
    if faults := [fault for info in infos.values() for fault in method.errors(info)]:
        raise BadInput("\n".join(faults))
    verifier = verifier_of_task(recipe, batch.rows)
    require_fields(method, batch, verifier)
    verdicts = read_verdicts(recipe, method, batch.rows, verifier)
    entries: dict[int, Entry] = {}
    for size, members in sizes.items():
        places = [place for group in members for place in group]
        scored, advantage = _score_groups(recipe, method, batch, verdicts, places, step, infos[size])
        if figures:
            rows = [batch.rows[place] for place in places]
            entries[size] = {
                "groups": len(members),
                "size": size,
                **_figures(method, scored, advantage, rows),
            }
        else:
            entries |= zip(places, _entries(scored, advantage), strict=True)
        method.observe(scored.rollouts, scored.reward)
    return [entries[place] for place in sorted(entries)]


def _figures(
    method: Method, scored: scoring.Scored, advantage: Tensor, rows: Sequence[LoggedRow]
) -> dict[str, float | None]:
    """Those of a training run's log that are of rewards, advantages and lengths."""
    kept = scored.rollouts.length_PG.flatten().tolist()
    thinking = [
        (min(row.thinking_tokens, length), max(0, length - row.thinking_tokens))
        for row, length in zip(rows, kept, strict=True)
        if row.thinking_tokens is not None
    ]
    return diagnose(method, scored.reward, advantage, scored.rollouts) | thinking_figures(thinking)


def _require_groups_apart(method: Method, sizes: Collection[int]) -> None:
    """Refuse strategies to which groups that are scored apart are not the batch.

    Raises:
        BadInput: the first of them.
    """
    for slot in SCORED:
        strategy = method.slots[slot]
        if strategy.needs_equal_groups:
            raise BadInput(
                f"groups have {min(sizes)} to {max(sizes)} completions, and {slot} {strategy.name!r} looks at the "
                "batch as a whole: give groups of one size, or score them in files of their own"
            )


def _score_groups(
    recipe: Recipe,
    method: Method,
    batch: Batch,
    verdicts: Sequence[Verdict],
    places: Sequence[int],
    step: int,
    run_info: RunInfo,
) -> tuple[scoring.Scored, Tensor]:
    """Rewards and advantages of groups of one size, whose rows stand at `places` of the batch, groups adjacent."""
    assert run_info.num_generations is not None
    logged = [batch.rows[i] for i in places]
    columns = [method.budget.visible(row.given, prompt=row.asked, gold=row.answer) for row in logged]
    budgets = method.budgets([row.prompt for row in logged], columns, step, run_info)
    parts = {f.name: [batch.rows[i].returned(f.name, batch.place(i)) for i in places] for f in method.added}

    def row(i: int, kept: int | None = None) -> scoring.Row:
        verdict, place = verdicts[places[i]], batch.place(places[i])
        return _row(logged[i], verdict, budgets[i], method=method, kept=kept, place=place)

    rows = [row(i) for i in range(len(logged))]
    scored = scoring.score(
        method,
        scoring.build_rollouts(rows, run_info.num_generations, run_info.max_length, step),
        lambda cuts: [row(i, kept) for i, kept in cuts.items()],
        recipe.guard.nonfinite,
        parts=lambda: parts,
    )
    return scored, method.advantages(scored.reward, scored.rollouts)


def _run_info(recipe: Recipe, group_size: int, max_length: int) -> RunInfo:
    steps = recipe.trainer.get("max_steps")
    max_steps = steps if isinstance(steps, int) and steps > 0 else None
    return RunInfo(group_size, max_length, max_steps, training=False)


def _row(
    logged: LoggedRow,
    verdict: Verdict,
    budget: PromptBudget,
    *,
    method: Method,
    kept: int | None,
    place: str,
) -> scoring.Row:
    """A line as it would have been sampled under its cap, cut to `kept` tokens, with the fields that the log gives.

    Raises:
        BadInput: strategies read the text of a completion that is cut, which only a tokenizer could do.
    """
    length = logged.length if budget.cap is None else min(logged.length, budget.cap)
    length = length if kept is None else kept
    reads, asked = method.reads, dict.fromkeys((*FIELDS, *method.reads_columns))
    if "text" in reads and length < logged.length:
        raise BadInput(
            f"{place}: the completion of {logged.length} tokens is cut to {length}, and a strategy reads its text, "
            "which is not cut here; log completions as they were cut, or score with truncation=none and budget=none"
        )
    verdict = after_cut(logged, verdict, length) if length < logged.length else verdict
    return scoring.Row(
        prompt_id=logged.prompt,
        length=length,
        truncated=bool(logged.truncated) or length < logged.length,
        verdict=verdict,
        prompt_budget=replace(budget, columns={}),
        columns={name: value for name in asked if (value := getattr(logged, name, None)) is not None},
        mean_logp=logged.mean_logp,
        carried=scoring.carry(
            reads,
            prompt=lambda: logged.asked,
            gold=lambda: logged.answer,
            text=lambda: logged.text,
            token_ids=lambda: (logged.token_ids or ())[:length],
            answer=lambda: verdict.answer,
            steps=lambda: tuple(StepScore(*step) for step in logged.steps or () if step[1] <= length),
            step_numbers=lambda: (logged.step_numbers or ())[:length],
            logps=lambda: (logged.logps or ())[:length],
            teacher_logps=lambda: [
                math.nan if n is None else n for n in (logged.teacher_logps or ())[:length]
            ],
        ),
    )


def _entries(scored: scoring.Scored, advantage: Tensor) -> list[Entry]:
    """The output's rows, in batch order."""
    rollouts = scored.rollouts
    known = [
        [None if math.isnan(value) else value for value in column_PG.flatten().tolist()]
        for column_PG in (rollouts.correct_PG, rollouts.budget_PG, scored.reward.total_PG)
    ]
    return [
        {
            "prompt": rollouts.prompt_ids[i // rollouts.G],
            "length": length,
            "correct": None if correct is None else correct > 0.5,
            "budget": budget,
            "reward": reward,
            "advantage": advantage,
        }
        for i, (length, correct, budget, reward, advantage) in enumerate(
            zip(
                rollouts.length_PG.flatten().tolist(),
                *known,
                groups.token_mean(advantage, rollouts.length_PG).flatten().tolist(),
                strict=True,
            )
        )
    ]
