"""The files of an evaluation: `eval.json` and the completions behind it."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lenrl.errors import BadInput
from lenrl.evaluation import tellings
from lenrl.evaluation.cache import KEY, LOGPS
from lenrl.evaluation.results import NONE, ModelResults
from lenrl.files import write_json, write_whole
from lenrl.measures.format import Evaluation

STRUCTURE = ("think_chars", "steps", "failed", "review")  # columns, where a thinking was read


def stem(number: int, decoding: str, control: str = NONE) -> str:
    """Common part of the file names of the n-th model, decoding and control."""
    return f"{number}-{decoding}" if control == NONE else f"{number}-{decoding}-{control}"


def write(folder: Path, result: Evaluation, all_results: Sequence[ModelResults]) -> None:
    """`completions-*.parquet` and `prompts-*.parquet` first, `eval.json` last: where it stands, all of it is there.

    What was kept of an interrupted evaluation (`lenrl.evaluation.cache`) is then removed.

    Raises:
        BadInput: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (entry, results) in enumerate(zip(result["models"], all_results, strict=True)):
            name = stem(number, results.decoding.name, results.control)
            entry["completions"] = f"completions-{name}.parquet"
            entry["by_prompt"] = f"prompts-{name}.parquet"
            _put(pa.table(_by_prompt(results)), folder / entry["by_prompt"])
            source = json.dumps({key: entry[key] for key in ("fingerprint", "weights")})
            completions = pa.table(_columns(results)).replace_schema_metadata({KEY: source.encode()})
            _put(completions, folder / entry["completions"])
            (folder / f"completions-{name}.part.jsonl").unlink(missing_ok=True)
        write_json(folder / "eval.json", result)
    except OSError as error:
        raise BadInput(f"out_dir {str(folder)!r} can't be written ({error}); give another folder") from error


def _put(table: pa.Table, path: Path) -> None:
    """Whole or not at all: a later evaluation reads the completions back."""
    write_whole(path, lambda draft: pq.write_table(table, draft))


def _by_prompt(results: ModelResults) -> dict[str, list | pa.Array]:
    """Of each prompt: its share of correct among known verdicts, and how its lengths spread."""
    known = [row[~np.isnan(row)] for row in results.answers.correct_PS]
    return {
        "prompt_id": [problem.id for problem in results.problems],
        "correct_share": [float(row.mean()) if row.size else None for row in known],
        **{name: pa.array(values, from_pandas=True) for name, values in results.lengths.items()},
    }


def _columns(results: ModelResults) -> dict[str, list | pa.Array]:
    samples, bases = range(results.decoding.samples), tellings.bases_of(results.problems)
    problems = [problem for problem in results.problems for _ in samples]
    rows = results.confidences
    return {
        "prompt_id": [problem.id for problem in problems],
        "prompt": [problem.prompt for problem in problems],
        "rendered": [_utf8(text) for text in results.rendered for _ in samples],
        "gold": [problem.answer for problem in problems],
        "completion": [_utf8(text) for text in results.texts],
        # A column of nothing has no type.
        "answer": pa.array([verdict.answer for verdict in results.verdicts], pa.string()),
        "verdict": pa.array([verdict.correct for verdict in results.verdicts], pa.bool_()),
        "outcome": [verdict.outcome for verdict in results.verdicts],
        "tokens": [completion.paid for completion in results.completions],
        "ids": pa.array([completion.ids for completion in results.completions], pa.list_(pa.int32())),
        "truncated": [completion.truncated for completion in results.completions],
        "difficulty": [None if p.difficulty is None else str(p.difficulty) for p in problems],
        **({"part": [p.part for p in problems]} if any(p.part for p in problems) else {}),
        **({"base": [base for base in bases for _ in samples]} if bases else {}),
        **(dict(zip(LOGPS, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}),
        **({} if results.control == NONE else {"forced": [c.forced for c in results.completions]}),
        **{
            name: [getattr(s, name, None) for s in results.structure]
            for name in STRUCTURE
            if results.structure
        },
        "model": [results.model] * len(problems),
        "decoding": [results.decoding.name] * len(problems),
    }


def _utf8(text: str) -> str:
    """The text without half surrogates, which a byte-level decoder may give and parquet can't hold."""
    return text.encode("utf-8", "replace").decode()


def plain(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
