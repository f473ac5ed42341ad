"""Verdicts and format of logged rows: as their lines say, or as their texts show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lenrl.dryrun.logged_rows import Row
from lenrl.strategies.method import Method

if TYPE_CHECKING:
    from lenrl.config import Recipe

FORMAT = ("formatted", "think_tags", "answer_tags")


def verdicts_of(recipe: Recipe, method: Method, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each row what is known of `correct`, `formatted` and the tags: given, or found in its text."""
    known = [{name: row.given[name] for name in ("correct", *FORMAT) if name in row.given} for row in rows]
    open_rows = []
    for index, row in enumerate(rows):
        verdict_open = "correct" not in row.given and not row.unknown and "answer" in row.given
        format_open = method.reward.reads_format and not set(FORMAT) <= row.given.keys()
        if "text" in row.given and (verdict_open or format_open):
            open_rows.append((index, verdict_open))
    if not open_rows:
        return known
    from lenrl.verify.pool import Claim, Verifier  # sympy: only where texts must be verified
    from lenrl.verify.settings import VerifierSettings

    claims = [
        Claim(
            rows[i].given["text"],
            rows[i].given.get("answer"),
            rows[i].given.get("think_prefilled", bool(recipe.model.think_prefilled)),
        )
        for i, _ in open_rows
    ]
    with Verifier(VerifierSettings.read(recipe.verifier)) as verifier:
        judged = verifier.verify(claims)
    for (index, verdict_open), verdict in zip(open_rows, judged, strict=True):
        found = {name: getattr(verdict, name) for name in FORMAT}
        if verdict_open:
            found["correct"] = math.nan if verdict.correct is None else verdict.correct
        known[index] = {**found, **known[index]}
    return known
