"""Verdicts of logged completions: what their lines say, what their texts show, what is left after a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lenrl.dryrun.logged_batches import Batch
from lenrl.dryrun.logged_rows import LoggedRow
from lenrl.errors import BadInput, shown
from lenrl.rollouts import Verdict
from lenrl.strategies.method import Method
from lenrl.verify.settings import PartsSettings, VerifierSettings

if TYPE_CHECKING:
    from lenrl.config import Recipe

LOGGED_AS = {"gold": "answer", "answer": "extracted"}  # where a line calls what a strategy reads otherwise
FORMAT = ("formatted", "think_tags", "answer_tags")


def after_cut(row: LoggedRow, verdict: Verdict, kept: int) -> Verdict:
    """The verdict of a completion's first `kept` tokens: as it was if they hold the answer, else wrong and unformatted.

    A completion thinks first, so one cut before its answer is complete is taken to have lost its `</think>` as well;
    training, which reads the text again, differs only where the cut falls between that tag and the answer's end.
    """
    if kept >= (row.length if row.answer_length is None else row.answer_length):
        return verdict
    correct = None if verdict.correct is None else False
    return Verdict(correct, formatted=False, think_tags=False, answer_tags=False)


def verifier_of_task(recipe: Recipe, rows: Sequence[LoggedRow]) -> VerifierSettings | None:
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


def require_fields(method: Method, batch: Batch, verifier: VerifierSettings | None) -> None:
    """Refuse lines without what the strategies read: only the log knows what its prompts were given.

    Raises:
        BadInput: the line, the field, and who reads it.
    """
    needed = {
        name: f"{method.reward.name!r} reads what the prompt was given"
        for name in method.reads_columns
        if name not in method.sampling.reads_columns  # which prompts there are is the log's
    }
    if method.advantage.needs_logp:
        needed["mean_logp"] = f"advantage {method.advantage.name!r} weighs by the mean token log-prob"
    for index, row in enumerate(batch.rows):
        place = batch.place(index)
        for name, why in needed.items():
            if getattr(row, name, None) is None:
                raise BadInput(f"{place}: field {name!r} is missing; {why}")
        for name in method.reads:
            field = LOGGED_AS.get(name, name)
            open_answer = name == "answer" and row.text is not None  # it is extracted from the text
            # There is no gold answer, or none was given
            null = field in LOGGED_AS.values() and row.says(field)
            if getattr(row, field) is None and not (open_answer or null):
                raise BadInput(f"{place}: field {field!r} is missing; a strategy's reads name {name!r}")
        if row.score is not None and row.correct is None:
            raise BadInput(
                f"{place}: field 'score' is {row.score:g} and 'correct' is missing; a graded verdict calls the "
                "answer right or wrong as well: give true or false"
            )
        judged = row.correct is not None or row.unknown or _can_judge(verifier, row)
        if method.reads_verdicts and not judged:
            raise BadInput(
                f"{place}: field 'correct' is missing, and there are no 'text' and 'answer' to "
                "verify; this method reads verdicts: give true, false or null"
            )


def _can_judge(verifier: VerifierSettings | None, row: LoggedRow) -> bool:
    """The verifier can tell whether the row's text is right."""
    if verifier is None or row.text is None:
        return False
    return row.answer is not None or not verifier.part(row.part or "").needs_gold


def read_verdicts(
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
            {"prompt": row.asked, **(row.model_extra or {})},
            row.part or "",
        )
        for row in rows
    ]
    with verifier_of(settings or VerifierSettings.read(recipe.verifier)) as verifier:
        return verifier.verify(claims)
