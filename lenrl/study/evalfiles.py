"""The files of an evaluation: `eval.json` and the completions behind it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lenrl.errors import BadInput
from lenrl.study.outcome import Outcome


def write(folder: Path, result: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    """`completions-*.parquet` first, `eval.json` last and at once: where it stands, all of it is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (entry, outcome) in enumerate(zip(result["models"], outcomes, strict=True)):
            entry["completions"] = f"completions-{number}-{outcome.decoding.name}.parquet"
            pq.write_table(pa.table(_columns(outcome)), folder / entry["completions"])
        draft = folder / "eval.json.part"
        draft.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
        draft.replace(folder / "eval.json")
    except OSError as error:
        raise BadInput(f"out_dir {str(folder)!r} can't be written ({error}); give another folder") from error


def _columns(outcome: Outcome) -> dict[str, list[Any]]:
    problems = [problem for problem in outcome.problems for _ in range(outcome.decoding.samples)]
    return {
        "prompt_id": [problem.id for problem in problems],
        "prompt": [problem.prompt for problem in problems],
        "gold": [problem.answer for problem in problems],
        "completion": [text.encode("utf-8", "replace").decode() for text in outcome.texts],
        "answer": [verdict.answer for verdict in outcome.verdicts],
        "verdict": [verdict.correct for verdict in outcome.verdicts],
        "outcome": [verdict.outcome for verdict in outcome.verdicts],
        "tokens": [len(completion.ids) for completion in outcome.completions],
        "truncated": [completion.truncated for completion in outcome.completions],
        "difficulty": [None if p.difficulty is None else str(p.difficulty) for p in problems],
        "model": [outcome.model] * len(problems),
        "decoding": [outcome.decoding.name] * len(problems),
    }


def plain(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
