"""Rows of local data files, checked before anything uses them: each fault is named with file and line."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput

SUFFIXES = (".jsonl", ".json", ".parquet")
MAX_FIELD_CHARS = 1_000_000  # longer fields are accidents (a whole file in a cell) and fill the memory


@dataclass(frozen=True, slots=True)
class Row:
    """A row's columns, and where it stands for messages."""

    where: str  # e.g. "train.jsonl, line 3"
    values: Mapping[str, Any]


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, by its suffix.

    Raises:
        BadInput: no such file, unknown suffix, invalid UTF-8, bad JSON, a NUL, a field above a million
            characters, or no row at all.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path (relative ones start at {Path.cwd()})")
    readers = {".jsonl": _json_lines, ".json": _json, ".parquet": _parquet}
    if path.suffix not in readers:
        raise BadInput(f"{path}: suffix {path.suffix!r} is not read; give {', '.join(SUFFIXES)}")
    rows = [_checked(Row(where, values)) for where, values in readers[path.suffix](path)]
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
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}: not JSON ({error.msg} at column {error.colno}); one object a row") from None
    except RecursionError:
        raise BadInput(f"{where}: JSON nested too deeply; a row is a flat object") from None
    except ValueError as error:  # an integer beyond Python's limit of digits
        raise BadInput(f"{where}: not readable ({error}); write long numbers as text") from None


def _checked(row: Row) -> Row:
    if not isinstance(row.values, dict):
        raise BadInput(f"{row.where}: a {type(row.values).__name__}, expected an object with named fields")
    for name, value in row.values.items():
        for text in filter(lambda part: isinstance(part, str), (name, value)):
            _check_text(f"{row.where}: field {name[:60]!r}", text)
    return row


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
