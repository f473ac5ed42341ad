"""Measures of answers in a file: excess length, asked-for length, preferences of a judge.

A row is an answer: `answer` (text) and, if it is to be told apart, `model`. What else it has says what is
measured: `baseline` (the shortest answer that is enough) and `category`: YapIndex; `target` (words asked for,
one of the Ruler's): Ruler; `asked` (words) and `constraint` (`about 1000`, `at least 1000`, `at most 1000`) or `lo`
and `hi`: scores of the length; `preference` (0 to 1: the judge prefers this answer) and `other` (the other's
answer): win rates. Sources: `lenrl.measures`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lenrl import measures
from lenrl.errors import BadInput, did_you_mean, validated
from lenrl.files import write_json
from lenrl.measures.format import Figures, figure, named, share
from lenrl.tasks.rows import Row, read_rows

NEEDS = {
    "yap": "baseline",
    "ruler": "target",
    "length": "asked",
    "constraint": "limits",
    "wins": "preference",
}
ALL = "all"  # where rows name no category
SHARES = (  # columns of the table: title, measure, figure
    ("Ruler, precise", "ruler", "precise"),
    ("flexible", "ruler", "flexible"),
    ("length score", "length", "score"),
    ("constraint score", "constraint", "score"),
    ("wins", "wins", "rate"),
    ("at equal length", "wins", "length_controlled"),
)


def _no_flag(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("needs a number of words")
    return value


Words = Annotated[int, Field(ge=1, lt=10**9), BeforeValidator(_no_flag)]


class Answer(BaseModel):
    """One row; other columns are not read."""

    model_config = ConfigDict(frozen=True)

    answer: str
    baseline: str | None = None
    other: str | None = None
    category: str | None = None
    model: str | None = None
    target: str | None = None
    preference: float | None = None
    asked: Words | None = None
    constraint: str | None = None
    lo: Words | None = None
    hi: Words | None = None

    @property
    def kind(self) -> str:
        """The kind of its constraint."""
        return "range" if self.constraint is None else self.constraint.rsplit(" ", 1)[0]

    @property
    def limits(self) -> tuple[float, float] | None:
        """Words that fulfil its constraint."""
        if self.constraint is not None:
            return measures.constraint_limits(self.kind, int(self.constraint.rsplit(" ", 1)[1]))
        return None if self.lo is None or self.hi is None else (self.lo, self.hi)

    @field_validator("constraint")
    @classmethod
    def _of_a_kind(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(rf"({'|'.join(measures.CONSTRAINTS)}) [1-9]\d{{0,8}}", value):
            return value
        kinds = ", ".join(f"{kind} 1000" for kind in measures.CONSTRAINTS)
        raise ValueError(f"is none of {kinds}; a range goes into the columns lo and hi")

    @field_validator("target", mode="before")
    @classmethod
    def _of_the_ruler(cls, value: object) -> str | None:
        if value is None or str(value) in measures.RULER_RANGES:
            return None if value is None else str(value)
        near = did_you_mean(str(value), measures.RULER_RANGES)
        raise ValueError(f"is none of the Ruler's {', '.join(measures.RULER_RANGES)}.{near}")

    @field_validator("preference", mode="before")
    @classmethod
    def _share(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is None or number and 0 <= value <= 1:
            return value
        raise ValueError(
            "is outside 0 to 1, 1: the judge prefers this answer. AlpacaEval writes 1 to 2: subtract 1; its "
            "0 is a tie: 0.5"
        )

    @model_validator(mode="after")
    def _has_the_others_length(self) -> Answer:
        if self.preference is not None and self.other is None:
            raise ValueError("has a preference, but no `other`: add the other's answer, for its length")
        if (self.lo is None) != (self.hi is None) or self.lo is not None and self.constraint is not None:
            raise ValueError("has lo, hi and constraint in part: give lo and hi, or constraint alone")
        if self.lo is not None and self.hi is not None and self.hi < self.lo:
            raise ValueError(f"has hi={self.hi} below lo={self.lo}; a range needs lo <= hi")
        return self

    @classmethod
    def read(cls, row: Row) -> Answer:
        """A row of a file, checked.

        Raises:
            BadInput: with file and line.
        """
        try:
            return validated(cls, row.values, "", "the row", "To measure it, add the column `answer`")
        except BadInput as fault:
            raise BadInput(f"{row.where}: {fault}") from None


def measure(path: Path, out_dir: Path | None = None) -> dict[str, Figures]:
    """The figures of each model in the file, by its name; also in `out_dir/answers.json`.

    Raises:
        BadInput: the file can't be read, a row has no answer or a value of the wrong kind, no measure has
            its columns, or the folder can't be written.
    """
    models: dict[str, list[Answer]] = defaultdict(list)
    for row in map(Answer.read, read_rows(path)):
        models[row.model or path.stem].append(row)
    figures = {name: _figures(rows) for name, rows in models.items()}
    if not any(entry.keys() & NEEDS.keys() for entry in figures.values()):
        raise BadInput(
            f"{path}: no row says what to measure by; add baseline for the YapIndex, target for the Ruler, asked, "
            "constraint or lo and hi for lengths, preference and other for win rates"
        )
    if out_dir is not None:
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            write_json(out_dir / "answers.json", figures)
        except OSError as error:
            raise BadInput(f"--out {out_dir} can't be written ({error}); give another folder") from error
    return figures


def show(figures: Mapping[str, Figures], console: Console) -> None:
    """Print a line each model."""
    table = Table(box=box.SIMPLE_HEAD, title="95 % intervals over prompts", title_justify="left")
    table.add_column("model")
    shown = [column for column in SHARES if any(column[1] in entry for entry in figures.values())]
    yap = any("yap" in entry for entry in figures.values())
    for column in ("answers", *(["YapIndex, characters"] if yap else []), *(title for title, *_ in shown)):
        table.add_column(column, justify="right")
    for name, entry in figures.items():
        index = entry.get("yap", {}).get("index")
        table.add_row(
            Text(name),
            str(entry["answers"]),
            *(["-" if index is None else f"{index:.1f}"] if yap else []),
            *(figure(entry.get(of, {}), key, share) for _, of, key in shown),
        )
    console.print(table)


def _figures(rows: Sequence[Answer]) -> Figures:
    measured = {
        name: [row for row in rows if getattr(row, field) is not None] for name, field in NEEDS.items()
    }
    ways = {"yap": _yap, "ruler": _ruler, "length": _length, "constraint": _constraint, "wins": _wins}
    return {"answers": len(rows)} | {name: ways[name](some) for name, some in measured.items() if some}


def _yap(rows: Sequence[Any]) -> Figures:
    scores: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        scores[row.category or ALL].append(measures.yap_score(row.answer, row.baseline))
    medians = {name: measures.yap_index({name: values}) for name, values in scores.items()}
    return {"index": measures.yap_index(scores), "medians": medians, "answers": len(rows)}


def _ruler(rows: Sequence[Any]) -> Figures:
    """Over all answers together, and of each level and each target."""
    levels = {
        level: [row for row in rows if row.target in own] for level, own in measures.RULER_LEVELS.items()
    }
    targets = {target: [row for row in rows if row.target == target] for target in measures.RULER_RANGES}
    of_each = {"levels": levels, "targets": targets}
    return _hits(rows) | {
        name: {key: _hits(some) for key, some in groups.items() if some} for name, groups in of_each.items()
    }


def _hits(rows: Sequence[Any]) -> Figures:
    figures: Figures = {"answers": len(rows)}
    for place, name in enumerate(("precise", "flexible")):
        hits = [
            measures.in_range(measures.words(row.answer), measures.RULER_RANGES[row.target][place])
            for row in rows
        ]
        figures |= named(name, measures.accuracy([[hit] for hit in hits]))
    return figures


def _length(rows: Sequence[Any]) -> Figures:
    return _scored([measures.length_score(row.asked, measures.words_or_signs(row.answer)) for row in rows])


def _constraint(rows: Sequence[Any]) -> Figures:
    """Of all, and of each kind of constraint."""
    kinds: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        kinds[row.kind].append(measures.constraint_score(row.limits, measures.words_or_signs(row.answer)))
    every = [score for scores in kinds.values() for score in scores]
    return _scored(every) | {"by_kind": {kind: _scored(scores) for kind, scores in kinds.items()}}


def _scored(scores: Sequence[float]) -> Figures:
    return {"answers": len(scores), **named("score", measures.mean_share(scores))}


def _wins(rows: Sequence[Any]) -> Figures:
    """Lengths are characters, as in AlpacaEval."""
    rates = measures.win_rate(
        [row.preference for row in rows],
        [len(row.answer) for row in rows],
        [len(row.other) for row in rows],
    )
    return {
        "answers": len(rows),
        **named("rate", rates.raw),
        **named("length_controlled", rates.length_controlled),
    }
