"""Files of a run's `completions/` as logged rows: natural lengths, and the verdicts before any cut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lenrl.dryrun.logged_rows import LoggedRow, validated
from lenrl.errors import BadInput
from lenrl.monitors.completion_table import COMPLETION_CHARS

NEEDED = ("step", "prompt_id", "prompt", "completion", "verdict", "tokens", "kept_tokens", "truncated")
TAKEN = (
    "mean_logp",
    "target",
    "lo",
    "hi",
    "level",
    "mode",
    "effort",
    "thinking_tokens",
)  # under their own names
PART = "part_"  # begins the name of a reward function's column


def read_table(path: Path) -> tuple[list[LoggedRow], list[object], int]:
    """Rows, the group of each, and the completed optimizer steps when they were sampled.

    Raises:
        BadInput: unreadable, no file of completions, empty, or a bad value.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as fault:
        reason = " ".join(str(fault).split())[:300]
        raise BadInput(f"{path}: {reason}; expected a file of a run's completions/") from None
    if missing := [name for name in NEEDED if name not in table.column_names]:
        raise BadInput(f"{path} has no column {missing[0]!r}; expected a file of a run's completions/")
    if not table.num_rows:
        raise BadInput(f"{path} is empty; expected a row a completion")
    rows = table.to_pylist()
    logged = [validated(f"{path.name}, row {n}", _fields(row)) for n, row in enumerate(rows, start=1)]
    step = rows[0]["step"]
    if type(step) is not int or step < 1:
        raise BadInput(f"{path}: column 'step' begins with {step!r}; it must be a whole number of at least 1")
    return logged, [row.get("group", row["prompt_id"]) for row in rows], step - 1


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table in the words of a JSON line.

    Of what a truncation has cut the natural text is not logged; the answer was complete in the kept tokens if its
    verdict has outlived the cut.
    """
    verdict, natural = row["verdict"], row.get("sampled_verdict", row["verdict"])
    fields = {
        "prompt": row["prompt_id"],
        "problem": row["prompt"],
        "length": row["tokens"],
        "correct": natural,
        "truncated": row["truncated"],
        "answer": row.get("gold"),
        **{name: row[name] for name in TAKEN if row.get(name) is not None},
        **{name.removeprefix(PART): row[name] for name in row if name.startswith(PART)},
    }
    if isinstance(rendered := row.get("rendered"), str):
        fields["think_prefilled"] = rendered.rstrip().endswith("<think>")
    if row["kept_tokens"] != row["tokens"]:
        return fields | {"answer_length": row["kept_tokens"] if verdict == natural else row["tokens"]}
    fields |= {"extracted": row.get("extracted")}
    if row.get("score") is not None:
        fields["score"] = row["score"]
    if isinstance(text := row["completion"], str) and len(text) < COMPLETION_CHARS:
        fields["text"] = text
    return fields
