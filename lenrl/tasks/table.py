"""Problems from tables: files (JSON lines, JSON, CSV, parquet), saved data sets, data sets of the hub."""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from lenrl.errors import BadInput
from lenrl.tasks.base import SPLITS
from lenrl.tasks.data_sets import hub_rows, is_saved, saved_rows
from lenrl.tasks.problem import Problem
from lenrl.tasks.row_task import RowTask, spelled
from lenrl.tasks.rows import SUFFIXES, Row, read_rows

Split = Literal["train", "dev", "test"]
Paths = str | tuple[str, ...]


class TableTask(RowTask, frozen=True):
    """Rows of one source or of several, one after the other.

    A source is a file, a pattern of files (`data/*.jsonl`), a folder that `datasets` saved (`save_to_disk`), or
    a hub id. `path` names the sources from which each row belongs to one split by a hash of its prompt in the
    proportions `shares`, so that no split ever sees another's prompts; `split="all"` gives every split all
    rows. `files` names sources for each split instead, or a split of the data set `path`: a hub id, a saved
    data set, or a folder that holds one file a split (`train.jsonl`, `test.parquet`).
    """

    name: Literal["table"] = "table"
    path: Paths | None = None  # a source, a pattern, or several
    files: dict[Split, Paths] = Field(default_factory=dict)  # sources of each split, in place of path
    split: Literal["hash", "all"] = "hash"  # a row's split by a hash of its prompt, or every row in each
    # Of the rows, in proportion, where split is hash.
    shares: dict[Split, int] = Field(default_factory=lambda: {"train": 80, "dev": 10, "test": 10})
    subset: str | tuple[str, ...] | None = None  # of a hub data set; several are read one after the other
    revision: str | None = None  # of a hub data set
    # Rows of each part of a hub data set; no others are loaded.
    stream_rows: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        if not self.path and not self.files:
            raise ValueError("has neither path nor files; name a file: task.path=FILE.jsonl")
        if isinstance(self.path, tuple) and self.files:
            raise ValueError(
                f"path={list(self.path)} and files are set; name the sources of each split in files"
            )
        if min(self.shares.values(), default=0) < 0 or sum(self.shares.values()) <= 0:
            raise ValueError(
                f"shares={self.shares} are not positive numbers; give e.g. {{train: 80, test: 20}}"
            )
        return self

    def rows(self, split: str) -> list[Row]:
        return [row for source in self._sources(split) for row in self._rows_of(source)]

    def belongs(self, problem: Problem, split: str) -> bool:
        if self.files or self.split == "all":
            return True
        return self._split_of(spelled(problem.prompt, problem.context)) == split

    def source_name(self, split: str) -> str:
        return ", ".join(self._sources(split))

    def _sources(self, split: str) -> list[str]:
        if self.files and split not in self.files:
            raise BadInput(
                f"task.files has no {split!r}, only {', '.join(self.files)}; add task.files.{split}=FILE"
            )
        named = self.files.get(split) or self.path  # type: ignore[call-overload]
        return [named] if isinstance(named, str) else list(named or ())

    def _rows_of(self, source: str) -> list[Row]:
        path = Path(source).expanduser()
        if any(mark in source for mark in "*?[") and not path.exists():
            found = sorted(glob.glob(str(path), recursive=True))
            if not found:
                raise BadInput(f"{source}: no file matches; check the pattern (it starts at {Path.cwd()})")
            return [row for name in found for row in self._rows_of(name)]
        if path.suffix in SUFFIXES or path.is_file():
            return read_rows(path)
        if is_saved(path):
            return saved_rows(path, None, self._kept)
        if not self.files or self.path is None:
            return self._hub_rows(source, None)
        assert isinstance(self.path, str)
        folder = Path(self.path).expanduser()  # `files` names the splits of the data set `path`
        if is_saved(folder):
            return saved_rows(folder, source, self._kept)
        if folder.is_dir():
            return read_rows(_of_folder(folder, source))
        if folder.suffix in SUFFIXES:
            raise BadInput(
                f"task.path={self.path!r} is one file, but task.files names splits of a data set "
                f"({self.source_name('train') if 'train' in self.files else source}). Give a folder with a file "
                "for each, or choose task=table"
            )
        return self._hub_rows(self.path, source)

    def _hub_rows(self, name: str, split: str | None) -> list[Row]:
        subsets = self.subset if isinstance(self.subset, tuple) else (self.subset,)
        return hub_rows(name, subsets, self.revision, split, kept=self._kept, stream_rows=self.stream_rows)

    @property
    def _kept(self) -> set[str] | None:
        """Columns that are read; None: all. Of a nested one the whole of it."""
        if self.keep is None:
            return None
        named = {self.prompt, self.answer, self.difficulty, *self.keep} - {None}
        return {part for name in named if name for part in (name, name.partition(".")[0])}

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


def _of_folder(folder: Path, split: str) -> Path:
    """The file of a split in a local copy of a data set."""
    names = [f"{split}{suffix}" for suffix in SUFFIXES]
    files = [folder / name for name in names if (folder / name).is_file()]
    if not files:
        raise BadInput(f"task.path={str(folder)!r}: the folder holds none of {', '.join(names)}")
    return files[0]
