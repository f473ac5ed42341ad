"""Problems from a table: a local JSON lines, JSON or parquet file, or a data set of the hub."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lenrl.errors import BadInput, did_you_mean, shown
from lenrl.tasks.base import SPLITS, Task
from lenrl.tasks.golds import Form, gold
from lenrl.tasks.problem import Problem
from lenrl.tasks.rows import SUFFIXES, Row, read_rows

Split = Literal["train", "dev", "test"]


class TableTask(Task, frozen=True):
    """Rows with a prompt and a gold answer, by the columns' names; `keep` names the others to keep (null: all).

    `path` is one file (or hub id), from which each row belongs to one split by a hash of its prompt in the
    proportions `shares`, so that no split ever sees another's prompts; `split="all"` gives every split all
    rows. `files` names a file for each split instead, or a split of the data set `path`: a hub id, or a folder
    that holds one file a split (`train.jsonl`, `test.parquet`).
    """

    name: Literal["table"] = "table"
    path: str | None = None
    files: dict[Split, str] = Field(default_factory=dict)
    split: Literal["hash", "all"] = "hash"
    shares: dict[Split, int] = Field(default_factory=lambda: {"train": 80, "dev": 10, "test": 10})
    subset: str | tuple[str, ...] | None = None  # of a hub data set; several are read one after the other
    revision: str | None = None  # of a hub data set
    # Rows of each part of a hub data set; no others are loaded.
    stream_rows: int | None = Field(default=None, ge=1)
    prompt: str = "prompt"
    answer: str | None = "answer"  # null: the task has no gold answers
    answer_form: Form = "plain"  # how the gold answer stands in its column
    difficulty: str = "difficulty"  # optional in the data
    keep: tuple[str, ...] | None = None  # further columns; long ones cost memory on every process

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        if self.path is None and not self.files:
            raise ValueError("has neither path nor files; name a file: task.path=FILE.jsonl")
        if min(self.shares.values(), default=0) < 0 or sum(self.shares.values()) <= 0:
            raise ValueError(
                f"shares={self.shares} are not positive numbers; give e.g. {{train: 80, test: 20}}"
            )
        return self

    @property
    def labelled(self) -> bool:
        return self.answer is not None

    def where_answered(self) -> TableTask:
        """This task, or the same one without gold answers if no row has any."""
        if self.answer is None or any(
            str(row.values.get(self.answer) or "").strip() for row in self._rows("train")
        ):
            return self
        return self.model_copy(update={"answer": None})

    def problems(self, split: str, count: int | None = None) -> list[Problem]:
        """The problems of a split in the data's order; `count` (default: the split's own) takes the first."""
        count = self.count(split) if count is None else count
        rows = self._rows(split)
        columns = {name for row in rows for name in row.values}
        if rows and self.answer is not None and self.answer not in columns:
            raise BadInput(_missing(rows[0].where, "answer", self.answer, columns))
        seen: dict[str, int] = {}
        problems = [self._problem(row, seen) for row in rows]
        if not self.files and self.split == "hash":
            problems = [problem for problem in problems if self._split_of(problem.prompt) == split]
        if count is not None and len(problems) < count:
            raise BadInput(
                f"task.{split}={count} problems asked, but {self._source(split)} has {len(problems)}; "
                f"ask for fewer, or leave task.{split} out to take all"
            )
        return problems[:count]

    def _rows(self, split: str) -> list[Row]:
        source = self._source(split)
        if Path(source).suffix in SUFFIXES or Path(source).is_file():
            return read_rows(Path(source))
        if not self.files or self.path is None:
            return self._hub_rows(source, None)
        folder = Path(self.path)  # `files` names the splits of the data set `path`
        if folder.is_dir():
            return read_rows(_of_folder(folder, source))
        if folder.suffix in SUFFIXES:
            raise BadInput(
                f"task.path={self.path!r} is one file, but task.files names splits of a data set "
                f"({', '.join(self.files.values())}). Give a folder with a file for each, or choose task=table"
            )
        return self._hub_rows(self.path, source)

    def _hub_rows(self, name: str, split: str | None) -> list[Row]:
        """Rows of a hub data set, all its subsets; without a split name, of all its splits one after the other."""
        subsets = self.subset if isinstance(self.subset, tuple) else (self.subset,)
        kept = None if self.keep is None else {self.prompt, self.answer, self.difficulty, *self.keep}
        rows: list[dict[str, Any]] = []
        for subset in subsets:
            for part in _hub_parts(name, subset, self.revision, split, stream=self.stream_rows is not None):
                if self.stream_rows is not None:
                    some = part.take(self.stream_rows)
                    rows += [{c: row[c] for c in row if kept is None or c in kept} for row in some]
                    continue
                columns = [c for c in part.column_names if kept is None or c in kept]
                rows += [dict(row) for row in part.select_columns(columns)]  # others never become objects
        return [Row(f"{name}, row {number}", row) for number, row in enumerate(rows, start=1)]

    def _source(self, split: str) -> str:
        if self.files and split not in self.files:
            raise BadInput(
                f"task.files has no {split!r}, only {', '.join(self.files)}; add task.files.{split}=FILE"
            )
        return self.files.get(split) or str(self.path)  # type: ignore[call-overload]

    def _problem(self, row: Row, seen: dict[str, int]) -> Problem:
        if self.prompt not in row.values:
            raise BadInput(_missing(row.where, "prompt", self.prompt, row.values))
        prompt = row.values[self.prompt]
        if not isinstance(prompt, str) or not prompt.strip():
            raise BadInput(
                f"{row.where}: {self.prompt!r} is {shown(prompt, 60)}; a prompt is text that is not empty: "
                "fix the row, or name another column by task.prompt"
            )
        digest = hashlib.blake2b(prompt.encode(), digest_size=8).hexdigest()
        seen[digest] = seen.get(digest, 0) + 1
        used = {self.prompt, self.answer, self.difficulty}
        kept = {name for name in row.values if name not in used and (self.keep is None or name in self.keep)}
        return Problem(
            id=f"table:{digest}" + (f"-{seen[digest]}" if seen[digest] > 1 else ""),
            prompt=prompt,
            answer=gold(row.values.get(self.answer), self.answer_form) if self.answer is not None else None,
            difficulty=_difficulty(row.values.get(self.difficulty)),
            columns={name: value for name, value in row.values.items() if name in kept},
            where=row.where,
        )

    def _split_of(self, prompt: str) -> str:
        """The only split of a prompt: by its hash, seed and order don't matter."""
        place = int.from_bytes(hashlib.blake2b(prompt.encode(), digest_size=8, person=b"split").digest())
        place %= sum(self.shares.values())
        for split in SPLITS:
            share = self.shares.get(split, 0)  # type: ignore[call-overload]
            if place < share:
                return split
            place -= share
        raise AssertionError("a place beyond the sum of the shares")


def _hub_parts(
    name: str, subset: str | None, revision: str | None, split: str | None, *, stream: bool
) -> list[Any]:
    """A hub data set's split, or without a split name all of them; `stream`: to be read row by row."""
    import datasets

    try:
        loaded: Any = datasets.load_dataset(name, subset, revision=revision, split=split, streaming=stream)
    except Exception as error:  # the hub's client raises a dozen types: network, auth, unknown name, bad data
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BadInput(
            f"task.path={name!r} is no local file and could not be loaded from the hub ({reason[0][:200]}); "
            f"check the name and the network, or give a local file ({', '.join(SUFFIXES)})"
        ) from error
    return list(loaded.values()) if isinstance(loaded, Mapping) else [loaded]


def _of_folder(folder: Path, split: str) -> Path:
    """The file of a split in a local copy of a data set."""
    names = [f"{split}{suffix}" for suffix in SUFFIXES]
    files = [folder / name for name in names if (folder / name).is_file()]
    if not files:
        raise BadInput(f"task.path={str(folder)!r}: the folder holds none of {', '.join(names)}")
    return files[0]


def _missing(where: str, role: str, column: str, columns: Any) -> str:
    names = ", ".join(map(repr, sorted(columns))) or "none"
    none = " (task.answer=null: there are no gold answers)" if role == "answer" else ""
    hint = did_you_mean(column, columns, f"task.{role}={{}}")
    return f"{where}: no column {column!r} for the {role}, only {names}. Name the column by task.{role}{none}.{hint}"


def _difficulty(value: Any) -> str | int | None:
    return value if value is None or isinstance(value, str | int) else str(value)
