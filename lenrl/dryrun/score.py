"""Rewards and advantages of logged rollouts, by the same pipeline as in training: no model, no GPU.

Lengths in the file are natural lengths; the budget's caps and the truncation cut them. No text is cut: the line's
`answer_length`, the tokens after which the answer is complete (all of them where it is not given), says what is lost.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lenrl.dryrun.logged_rows import LoggedRow, grouped, of_rows, read
from lenrl.errors import BadInput, shown
from lenrl.files import write_text
from lenrl.rollouts import StepScore, Verdict
from lenrl.strategies import groups, registry, scoring
from lenrl.strategies.base import PromptBudget, RunInfo
from lenrl.strategies.method import Method
from lenrl.verify.settings import PartsSettings, VerifierSettings

if TYPE_CHECKING:
    from lenrl.config import Recipe

DEFAULT_MAX_LENGTH = 4096  # L_max unless the command line sets it, tokens
FIELDS = ("target", "lo", "hi", "level", "mode")  # what a row's prompt was given
LOGGED_AS = {"gold": "answer", "answer": "extracted"}  # where a line calls what a strategy reads otherwise
FORMAT = ("formatted", "think_tags", "answer_tags")


def score(
    recipe: Recipe,
    source: Path | Sequence[Mapping[str, Any]],
    *,
    method: Method | None = None,
    step: int = 0,
    state_in: Path | None = None,
    state_out: Path | None = None,
    max_length: int | None = None,
) -> list[dict[str, object]]:
    """Score one generation batch, in a file or as rows.

    Args:
        recipe: its slots, weights of reward functions (a line has their values), verifier, `trainer.max_steps`.
        source: a file of JSON lines, or rows, one completion each.
        method: in the place of the recipe's.
        step: completed optimizer steps.
        state_in, state_out: files of the strategies' state, read before and written after.
        max_length: L_max, tokens; None: 4096.

    Returns:
        A row for each line, in the file's order: prompt, length (kept), correct, budget, reward, advantage.

    Raises:
        BadInput: a bad line, an empty file, or a method that cannot work on groups of this size.
    """
    _require_counts(step, max_length)
    method = _fresh(method or recipe.method, state_in)
    lines = read(source) if isinstance(source, Path) else of_rows(source)
    order = grouped(lines)
    run_info = _run_info(recipe, len(order[0]), max_length or DEFAULT_MAX_LENGTH)
    faults = method.errors(run_info)
    if faults:
        raise BadInput("\n".join(faults))
    verifier = _verifier_of(recipe, lines)
    _require_fields(method, lines, verifier)
    places = [index for members in order for index in members]  # of the batch's rows, in the file
    logged = [lines[i] for i in places]
    parts = {f.name: [lines[i].returned(f.name, i + 1) for i in places] for f in method.added}
    verdicts = _verdicts(recipe, method, logged, verifier)
    columns = [method.budget.visible(row.given, prompt=row.prompt, gold=row.answer) for row in logged]
    budgets = method.budgets([row.prompt for row in logged], columns, step, run_info)

    def row(i: int, kept: int | None = None) -> scoring.Row:
        return _row(logged[i], verdicts[i], budgets[i], reads=method.reads, kept=kept, line=places[i] + 1)

    rows = [row(i) for i in range(len(logged))]
    scored = scoring.score(
        method,
        scoring.build_rollouts(rows, len(order[0]), run_info.max_length, step),
        lambda cuts: [row(i, kept) for i, kept in cuts.items()],
        recipe.guard.nonfinite,
        parts=lambda: parts,
    )
    advantage = method.advantages(scored.reward, scored.rollouts)
    method.observe(scored.rollouts, scored.reward)
    entries = _entries(scored, advantage)
    if state_out is not None:
        _write_state(state_out, method.state_dict())
    return [entry for _, entry in sorted(zip(places, entries, strict=True), key=lambda pair: pair[0])]


def _require_counts(step: int, max_length: int | None) -> None:
    if step < 0:
        raise BadInput(f"--step {step}: completed optimizer steps must be at least 0")
    if max_length is not None and (type(max_length) is not int or max_length < 1):
        raise BadInput(f"trainer.max_completion_length={max_length!r}: needs a whole number of at least 1.")


def after_cut(row: LoggedRow, verdict: Verdict, kept: int) -> Verdict:
    """The verdict of a completion's first `kept` tokens: as it was if they hold the answer, else wrong and unformatted.

    A completion thinks first, so one cut before its answer is complete is taken to have lost its `</think>` as well;
    training, which reads the text again, differs only where the cut falls between that tag and the answer's end.
    """
    if kept >= (row.length if row.answer_length is None else row.answer_length):
        return verdict
    correct = None if verdict.correct is None else False
    return Verdict(correct, formatted=False, think_tags=False, answer_tags=False)


def _fresh(method: Method, state_in: Path | None) -> Method:
    """A method of its own, with the state of a file: scoring leaves the recipe's strategies without state."""
    slots: dict[str, Any] = {slot: registry.build(slot, registry.spec(s)) for slot, s in method.slots.items()}
    fresh = replace(method, **slots)
    if state_in is not None:
        fresh.load_state_dict(_read_state(state_in))
    return fresh


def _run_info(recipe: Recipe, group_size: int, max_length: int) -> RunInfo:
    steps = recipe.trainer.get("max_steps")
    max_steps = steps if isinstance(steps, int) and steps > 0 else None
    return RunInfo(group_size, max_length, max_steps, training=False)


def _verifier_of(recipe: Recipe, rows: Sequence[LoggedRow]) -> VerifierSettings | None:
    """Settings of the verifier of the recipe's task; None: no row has a text that it could judge.

    Raises:
        BadInput: the task is a mix, and a row to be judged does not say of which part it is.
    """
    open_rows = [row for row in rows if row.text is not None and not row.says("correct")]
    if not open_rows:
        return None
    from lenrl.tasks import build

    settings = build(recipe.task).verifier_settings(recipe.verifier)
    parts = settings.parts if isinstance(settings, PartsSettings) else {}
    for row in open_rows if parts else ():
        if row.part not in parts:
            raise BadInput(
                f"the recipe's task is a mix, whose parts have verifiers of their own; field 'part' of prompt "
                f"{shown(row.prompt)} is {row.part!r}: give one of {', '.join(map(repr, parts))}, or `correct`"
            )
    return settings


def _require_fields(method: Method, rows: Sequence[LoggedRow], verifier: VerifierSettings | None) -> None:
    """Refuse lines without what the strategies read: only the log knows what its prompts were given."""
    needed = {
        name: f"{method.reward.name!r} reads what the prompt was given" for name in method.reads_columns
    }
    if method.advantage.needs_logp:
        needed["mean_logp"] = f"advantage {method.advantage.name!r} weighs by the mean token log-prob"
    for number, row in enumerate(rows, start=1):
        for name, why in needed.items():
            if getattr(row, name, None) is None:
                raise BadInput(f"line {number}: field {name!r} is missing; {why}")
        for name in method.reads:
            field = LOGGED_AS.get(name, name)
            open_answer = name == "answer" and row.text is not None  # it is extracted from the text
            null = field in LOGGED_AS.values() and row.says(
                field
            )  # there is no gold answer, or none was given
            if getattr(row, field) is None and not (open_answer or null):
                raise BadInput(f"line {number}: field {field!r} is missing; a strategy's reads name {name!r}")
        if row.score is not None and row.correct is None:
            raise BadInput(
                f"line {number}: field 'score' is {row.score:g} and 'correct' is missing; a graded verdict calls the "
                "answer right or wrong as well: give true or false"
            )
        judged = row.correct is not None or row.unknown or _can_judge(verifier, row)
        if method.reads_verdicts and not judged:
            raise BadInput(
                f"line {number}: field 'correct' is missing, and there are no 'text' and 'answer' to "
                "verify; this method reads verdicts: give true, false or null"
            )


def _can_judge(verifier: VerifierSettings | None, row: LoggedRow) -> bool:
    """The verifier can tell whether the row's text is right."""
    if verifier is None or row.text is None:
        return False
    return row.answer is not None or not verifier.part(row.part or "").needs_gold


def _verdicts(
    recipe: Recipe, method: Method, rows: Sequence[LoggedRow], verifier: VerifierSettings | None
) -> list[Verdict]:
    """Verdicts as the lines give them; what a line leaves open is read from its text, else taken as well formed."""
    open_rows = []
    for index, row in enumerate(rows):
        verdict_open = row.correct is None and not row.unknown and _can_judge(verifier, row)
        format_open = method.reward.reads_format and None in (getattr(row, name) for name in FORMAT)
        answer_open = "answer" in method.reads and not row.says("extracted")
        if row.text is not None and (verdict_open or format_open or answer_open):
            open_rows.append(index)
    read_off = dict(zip(open_rows, _verified(recipe, [rows[i] for i in open_rows], verifier), strict=True))
    verdicts = []
    for index, row in enumerate(rows):
        seen = read_off.get(index, Verdict(None, formatted=True))
        stated = {name: value for name in FORMAT if (value := getattr(row, name)) is not None}
        correct = seen.correct if row.correct is None and not row.unknown else row.correct
        if row.says("extracted"):
            seen = replace(seen, answer=row.extracted)
        verdicts.append(replace(seen, correct=correct, score=row.score, **stated))
    return verdicts


def _verified(recipe: Recipe, rows: Sequence[LoggedRow], settings: VerifierSettings | None) -> list[Verdict]:
    if not rows:
        return []
    from lenrl.verify.claims import Claim
    from lenrl.verify.several import verifier_of  # sympy: only where texts must be verified

    prefilled = bool(recipe.model.think_prefilled)
    claims = [
        Claim(
            row.text or "",
            row.answer,
            prefilled if row.think_prefilled is None else row.think_prefilled,
            {"prompt": row.prompt, **(row.model_extra or {})},
            row.part or "",
        )
        for row in rows
    ]
    with verifier_of(settings or VerifierSettings.read(recipe.verifier)) as verifier:
        return verifier.verify(claims)


def _row(
    logged: LoggedRow,
    verdict: Verdict,
    budget: PromptBudget,
    *,
    reads: Collection[str],
    kept: int | None,
    line: int,
) -> scoring.Row:
    """A line as it would have been sampled under its cap, cut to `kept` tokens, with the fields that the log gives.

    Raises:
        BadInput: strategies read the text of a completion that is cut, which only a tokenizer could do.
    """
    length = logged.length if budget.cap is None else min(logged.length, budget.cap)
    length = length if kept is None else kept
    if "text" in reads and length < logged.length:
        raise BadInput(
            f"line {line}: the completion of {logged.length} tokens is cut to {length}, and a strategy reads its text, "
            "which is not cut here; log completions as they were cut, or score with truncation=none and budget=none"
        )
    verdict = after_cut(logged, verdict, length) if length < logged.length else verdict
    return scoring.Row(
        prompt_id=logged.prompt,
        length=length,
        truncated=bool(logged.truncated) or length < logged.length,
        verdict=verdict,
        prompt_budget=replace(budget, columns={}),
        columns={name: value for name in FIELDS if (value := getattr(logged, name)) is not None},
        mean_logp=logged.mean_logp,
        carried=scoring.carry(
            reads,
            prompt=lambda: logged.prompt,
            gold=lambda: logged.answer,
            text=lambda: logged.text,
            token_ids=lambda: (logged.token_ids or ())[:length],
            answer=lambda: verdict.answer,
            steps=lambda: tuple(StepScore(*step) for step in logged.steps or () if step[1] <= length),
            logps=lambda: (logged.logps or ())[:length],
        ),
    )


def _entries(scored: scoring.Scored, advantage: Tensor) -> list[dict[str, object]]:
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


def _read_state(path: Path) -> dict[str, object]:
    """The strategies' state by slot.

    Raises:
        BadInput: unreadable, or not an object of objects.
    """
    try:
        state = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"--state {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"--state {path}: not JSON: {error}; expected what --save-state wrote") from None
    if not isinstance(state, dict) or not all(isinstance(part, dict) for part in state.values()):
        raise BadInput(f"--state {path}: expected an object of objects, as --save-state writes")
    return state


def _write_state(path: Path, state: Mapping[str, object]) -> None:
    try:
        write_text(path, json.dumps(state))
    except OSError as error:
        raise BadInput(
            f"--save-state {path}: {error.strerror or error}; choose a file that can be written"
        ) from None
