"""Generation batches of a log: JSON lines of a file or of standard input, or a run's `completions/`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenrl.dryrun.logged_rows import FIELD_CHARS, LoggedRow, checked, parsed
from lenrl.errors import BadInput, shown

STDIN = Path("-")
COMPLETIONS = "completions"  # of a run's folder


@dataclass(frozen=True)
class Batch:
    """The completions that were sampled together, in the log's order."""

    rows: list[LoggedRow]
    groups: list[list[int]]  # places in `rows`, in order of first appearance
    source: str  # what a row is called in messages: `line`, `row`
    step: int | None = None  # completed optimizer steps when it was sampled; None: the log does not say
    max_length: int | None = None  # L_max of the run, tokens; None: the log does not say

    def place(self, index: int) -> str:
        """A row's name in messages."""
        return f"{self.source} {index + 1}"

    def by_size(self) -> dict[int, list[list[int]]]:
        """Groups of one size each."""
        sizes: dict[int, list[list[int]]] = {}
        for members in self.groups:
            sizes.setdefault(len(members), []).append(members)
        return sizes


def read(source: Path | Sequence[Mapping[str, Any]]) -> list[Batch]:
    """The batches of a source, in the order in which they were sampled.

    Args:
        source: a file of JSON lines, `-` for those of standard input: one batch; a run's folder, its `completions/` or
            a file in there: a batch a file; rows of a program: one batch.

    Raises:
        BadInput: unreadable, empty, or a bad row: its number, the field, the value, the rule.
    """
    if not isinstance(source, Path):
        return [_batch(checked(source), "row")]
    if source.is_dir() or source.suffix == ".parquet":
        return [_of_table(path) for path in _tables(source)]
    return [_of_lines(source)]


def _of_lines(path: Path) -> Batch:
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}; expected a file of JSON lines") from None
    lines = content.rstrip().split(b"\n")
    if lines == [b""]:
        name = "standard input" if path == STDIN else path
        raise BadInput(f"{name} is empty; expected a JSON object a line, one completion each")
    return _batch([parsed(f"line {number}", line) for number, line in enumerate(lines, start=1)], "line")


def _tables(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    inside = source / COMPLETIONS if (source / COMPLETIONS).is_dir() else source
    if found := sorted(inside.glob("*.parquet")):
        return found
    raise BadInput(
        f"{inside} holds no *.parquet; a run writes completions there unless logging.completions=false"
    )


def _of_table(path: Path) -> Batch:
    """A file of a run's `completions/`."""
    from lenrl.dryrun.logged_tables import read_table

    rows, groups, step = read_table(path)
    return _batch(rows, f"{path.name}, row", groups, step=step, max_length=_max_length(path))


def _max_length(path: Path) -> int | None:
    """`trainer.max_completion_length` of the run that a file of completions is of."""
    from lenrl.config.yaml_files import read_yaml

    recipe = path.parent.parent / "recipe.yaml"
    found = read_yaml(recipe) if recipe.is_file() else {}
    trainer = found.get("trainer") if isinstance(found, dict) else None
    tokens = trainer.get("max_completion_length") if isinstance(trainer, dict) else None
    return tokens if type(tokens) is int and tokens > 0 else None


def _batch(
    rows: list[LoggedRow], source: str, groups: Sequence[object] | None = None, **known: int | None
) -> Batch:
    """Rows by their group, which is the prompt where `groups` does not name one a row.

    Raises:
        BadInput: a group of one row.
    """
    names = [row.prompt for row in rows] if groups is None else groups
    members: dict[object, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(name, []).append(index)
    batch = Batch(rows, list(members.values()), source, **known)
    for alone in (indices[0] for indices in batch.groups if len(indices) == 1):
        raise BadInput(
            f"{batch.place(alone)}: prompt {shown(rows[alone].prompt, FIELD_CHARS)} has 1 completion; a group needs 2"
        )
    return batch
