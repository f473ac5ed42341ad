"""Rows of local data files, checked before anything uses them: each fault is named with file and line."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput, shown

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
MAX_FIELD_CHARS = 1_000_000  # longer fields are accidents (a whole file in a cell) and fill the memory


@dataclass(frozen=True, slots=True)
class Row:
    """A row's columns, and where it stands for messages."""

    where: str  # e.g. "train.jsonl, line 3"
    values: Mapping[str, Any]


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, by its suffix.

    Raises:
        BadInput: no such file, unknown suffix, invalid UTF-8, bad JSON or CSV, a NUL, a field above a million
            characters, or no row at all.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path (relative ones start at {Path.cwd()})")
    readers = {".jsonl": _json_lines, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise BadInput(f"{path}: suffix {path.suffix!r} is not read; give {', '.join(SUFFIXES)}")
    rows = [checked(Row(where, values)) for where, values in readers[path.suffix](path)]
    if not rows:
        raise BadInput(f"{path}: holds no rows; a task needs at least one problem")
    return rows


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            text = _decoded(where, line).strip().lstrip("\ufeff")
            if text:
                yield where, _parsed(where, text)


def _json(path: Path) -> Iterable[tuple[str, Any]]:
    data = _parsed(str(path), _decoded(str(path), path.read_bytes()).lstrip("\ufeff"))
    if not isinstance(data, list):
        raise BadInput(
            f"{path}: a {type(data).__name__} at the top; give a list of objects, or a .jsonl file"
        )
    return ((f"{path}, row {number}", row) for number, row in enumerate(data, start=1))


def _csv(path: Path) -> Iterator[tuple[str, Any]]:
    """Rows under a header; every value is text, and an empty one is none."""
    text = _decoded(str(path), path.read_bytes()).lstrip("\ufeff")
    limit = csv.field_size_limit(MAX_FIELD_CHARS + 1)  # the module's own, 131,072
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(reader, [])
        if twice := {name for name in header if header.count(name) > 1}:
            raise BadInput(f"{path}, line 1: the column {twice.pop()!r} stands twice; rename one of them")
        for row in filter(None, reader):
            where = f"{path}, line {reader.line_num}"
            if len(row) != len(header):
                raise BadInput(
                    f"{where}: {len(row)} fields, the header has {len(header)}; quote fields that hold commas"
                )
            yield where, {name: value or None for name, value in zip(header, row, strict=True)}
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: not CSV ({error}); write the file again") from None
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path) -> Iterable[tuple[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not a readable parquet file ({error}); write it again") from error
    return ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))


def _decoded(where: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{where}: byte 0x{data[error.start]:02x} at column {error.start + 1} is not UTF-8; save the file as UTF-8"
        ) from None


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except KeyError as error:
        raise BadInput(f"{where}: the field {error} stands twice; leave one of them out") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}: not JSON ({error.msg} at column {error.colno}); one object a row") from None
    except RecursionError:
        raise BadInput(f"{where}: JSON nested too deeply; a row is a flat object") from None
    except ValueError as error:  # an integer beyond Python's limit of digits
        raise BadInput(f"{where}: not readable ({error}); write long numbers as text") from None


def _once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which no field stands twice: JSON would take the last, in silence."""
    values = dict(fields)
    if len(values) < len(fields):
        names = [name for name, _ in fields]
        raise KeyError(next(name for name in names if names.count(name) > 1))
    return values


def checked(row: Row) -> Row:
    """The row itself.

    Raises:
        BadInput: it is no mapping, or at any depth holds NaN or infinity, or a text that is too long, holds a NUL, or
            is not Unicode.
    """
    if not isinstance(row.values, dict):
        raise BadInput(f"{row.where}: found {shown(row.values, 60)}, expected an object with named fields")
    for name, value in row.values.items():
        where = f"{row.where}: field {str(name)[:60]!r}"
        for part in _parts({name: value}):
            if isinstance(part, float) and not math.isfinite(part):
                raise BadInput(f"{where} holds {part}, which is no value; leave the field out, or give null")
            if isinstance(part, str):
                _check_text(where, part)
    return row


def _parts(value: Any) -> Iterator[Any]:
    """All that is in a value and is no container, at any depth, names of fields too."""
    todo = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            todo += [*part, *part.values()]
        elif isinstance(part, list | tuple):
            todo += part
        else:
            yield part


def _check_text(where: str, text: str) -> None:
    if len(text) > MAX_FIELD_CHARS:
        raise BadInput(f"{where} has {len(text)} characters, the limit is {MAX_FIELD_CHARS}; drop the row")
    if "\0" in text:
        raise BadInput(f"{where} holds a NUL character at place {text.index(chr(0)) + 1}; remove it")
    if not _encodes(text):
        raise BadInput(f"{where} holds half of a surrogate pair, which is no text; remove the \\ud8.. escape")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
