"""The files of an evaluation: `eval.json` and the completions behind it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lenrl.errors import BadInput
from lenrl.evaluation.cache import KEY
from lenrl.evaluation.results import ModelResults


def stem(number: int, decoding: str) -> str:
    """What the files of the n-th model and decoding have in their names."""
    return f"{number}-{decoding}"


def write(
    folder: Path,
    result: dict[str, Any],
    outcomes: Sequence[ModelResults],
    sources: Sequence[Mapping[str, Any]],
) -> None:
    """`completions-*.parquet` and `prompts-*.parquet` first, `eval.json` last and at once: where it stands,
    all of it is there. What was kept of an interrupted evaluation (`lenrl.evaluation.cache`) is then removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (entry, outcome, source) in enumerate(
            zip(result["models"], outcomes, sources, strict=True)
        ):
            name = stem(number, outcome.decoding.name)
            entry["completions"] = f"completions-{name}.parquet"
            entry["by_prompt"] = f"prompts-{name}.parquet"
            _put(pa.table(_by_prompt(outcome)), folder / entry["by_prompt"])
            completions = pa.table(_columns(outcome))
            said = {KEY: json.dumps(source).encode()}
            _put(completions.replace_schema_metadata(said), folder / entry["completions"])
            (folder / f"completions-{name}.part.jsonl").unlink(missing_ok=True)
        draft = folder / "eval.json.part"
        draft.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
        draft.replace(folder / "eval.json")
    except OSError as error:
        raise BadInput(f"out_dir {str(folder)!r} can't be written ({error}); give another folder") from error


def _put(table: pa.Table, path: Path) -> None:
    """Whole or not at all: a later evaluation reads the completions back."""
    draft = path.with_name(f"{path.name}.part")
    pq.write_table(table, draft)
    draft.replace(path)


def _by_prompt(outcome: ModelResults) -> dict[str, Any]:
    """Of each prompt: its share of correct among known verdicts, and how its lengths spread."""
    correct_PS = outcome.correct_PS
    known = [row[~np.isnan(row)] for row in correct_PS]
    return {
        "prompt_id": [problem.id for problem in outcome.problems],
        "correct_share": [float(row.mean()) if row.size else None for row in known],
        **{name: pa.array(values, from_pandas=True) for name, values in outcome.lengths.items()},
    }


def _columns(outcome: ModelResults) -> dict[str, Any]:
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
        "ids": pa.array([completion.ids for completion in outcome.completions], pa.list_(pa.int32())),
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
