"""`eval.json` and the completions behind it as others may hand them in: read only where they are what we write."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from lenrl.errors import BadInput, explain
from lenrl.evaluation.cache import LOGPS
from lenrl.measures.format import Figures

AGAIN = "measure again with lenrl eval"
MAX_NAME = 500  # characters of a model or a task
# JSON has lists only; an end that nobody knows is null.
Interval = Annotated[tuple[float | None, float | None], Strict(False)] | None
Share = Annotated[float, Field(ge=0, le=1)]
Tokens = Annotated[float, Field(ge=0, le=1e12)]
Name = Annotated[str, Field(max_length=MAX_NAME)]
COLUMNS = {  # of completions, with their types
    **dict.fromkeys(("prompt_id", "prompt", "completion", "base", "rendered", "answer"), pa.types.is_string),
    **dict.fromkeys(("verdict", "truncated"), pa.types.is_boolean),
    "tokens": pa.types.is_integer,
    **dict.fromkeys(LOGPS, pa.types.is_floating),
}
OPTIONAL = ("base", "rendered", "answer", "truncated", *LOGPS)
NULLABLE = ("verdict", "answer")


class Read(BaseModel):
    """A part of the file; what else it has is left alone."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")


class Headline(Read):
    """Figures of some of the problems."""

    accuracy: Share | None
    tokens_mean: Tokens
    prompts: int = Field(ge=1)


class Bin(Read):
    """Completions of about a length."""

    tokens: Tokens
    accuracy: Share
    accuracy_ci95: Annotated[tuple[Share, Share], Strict(False)]


class Curve(Read):
    """Accuracy by length."""

    bins: list[Bin] = Field(min_length=1, max_length=100)


class Curves(Read):
    """Accuracy by length of all problems and of each difficulty; null: too few completions."""

    all: Curve | None
    by_difficulty: Annotated[dict[str, Curve | None], Field(max_length=100)]


class Reach(Read):
    """The longest problems still solved, elements."""

    train_max: int = Field(ge=1, le=10**6)
    reach_90: Tokens
    reach_90_ci95: Interval
    reach_50: Tokens
    reach_50_ci95: Interval


class ModelFigures(Headline):
    """Figures of one model under one decoding."""

    accuracy_ci95: Interval
    tokens_mean_ci95: Interval
    model: Name
    decoding: Name
    samples: int = Field(ge=1, le=10**6)  # a prompt
    control: Name = "none"
    task: Name | None
    split: Name
    tokens_p95: Tokens
    tokens_correct: Tokens | None
    tokens_wrong: Tokens | None
    truncated_share: Share
    fingerprint: dict[str, Any]
    completions: Name | None = None
    by_part: dict[str, Headline] | None = None
    by_difficulty: dict[str, Headline] | None = None
    by_length: Curves | None = None
    reach: Reach | None = None


class EvalFile(Read):
    """All of `eval.json` that a comparison reads."""

    models: list[ModelFigures] = Field(min_length=1, max_length=1000)


def read_models(path: Path) -> list[Figures]:
    """The figures of each model of an `eval.json`.

    Raises:
        BadInput: it can't be read, or is not what `lenrl eval` writes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as fault:
        raise BadInput(f"{path} can't be read: {fault}; {AGAIN}") from None
    if not isinstance(content, dict) or not content.get("models"):
        raise BadInput(f"{path} has no models; {AGAIN}")
    try:
        EvalFile.model_validate(content)
    except ValidationError as fault:
        raise BadInput(f"{path} is not what lenrl eval writes: {explain(fault, EvalFile)[:500]}") from None
    return content["models"]


def read_columns(path: Path, names: Sequence[str]) -> dict[str, list[Any]]:
    """Those of the columns that a file of completions has.

    Raises:
        BadInput: it is no parquet file, or a column is missing that the page needs, or has another type.
    """
    try:
        there = pq.read_schema(path).names
        table = pq.read_table(path, columns=[name for name in names if name in there])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{path} is no readable parquet file ({str(error)[:200]}); {AGAIN}") from None
    for name, of_kind in COLUMNS.items():
        fault = "" if name in OPTIONAL else "is missing"
        if name in table.column_names:
            column = table.column(name)
            if name in NULLABLE:
                right = of_kind(column.type) or pa.types.is_null(column.type)
            else:
                right = of_kind(column.type) and not column.null_count
            fault = "" if right else f"is {column.type} with {column.null_count} nulls"
        if fault:
            raise BadInput(f"{path}: the column {name!r} {fault}; {AGAIN}")
    return table.to_pydict()
