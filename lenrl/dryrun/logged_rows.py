"""Logged rollouts as typed rows: one JSON object a line, every field checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput, shown

MAX_TOKENS = 2**31


@dataclass(frozen=True, slots=True)
class Row:
    """One completion of the file; `given` holds the known fields of its line that are not null."""

    line: int  # from 1
    prompt: str
    length: int  # tokens
    given: dict[str, Any] = field(default_factory=dict)
    unknown: bool = False  # `correct` is null


def read(path: Path) -> list[Row]:
    """The rows of a file.

    Raises:
        BadInput: unreadable or empty file, or a bad line: its number, the field, the value, the rule.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}; expected a file of JSON lines") from None
    lines = content.rstrip().split(b"\n")
    if lines == [b""]:
        raise BadInput(f"{path} is empty; expected a JSON object a line, one completion each")
    return [_row(number, line) for number, line in enumerate(lines, start=1)]


def _row(number: int, line: bytes) -> Row:
    where = f"line {number}"
    try:
        values = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: not UTF-8 at byte {error.start}; convert the file") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: not a JSON object: {error}") from None
    if not isinstance(values, dict):
        raise BadInput(f"{where}: found {_short(values)}, expected a JSON object with `prompt` and `length`")
    for name in ("prompt", "length"):
        if values.get(name) is None:
            raise BadInput(f"{where}: field {name!r} is missing; it must be {RULES[name][0]}")
    given = {}
    for name, value in values.items():
        if name in RULES and value is not None:
            rule, holds = RULES[name]
            if not holds(value):
                raise BadInput(f"{where}: field {name!r} is {_short(value)}; it must be {rule}")
            given[name] = value
    unknown = "correct" in values and values["correct"] is None
    return Row(number, given.pop("prompt"), given.pop("length"), given, unknown)


def grouped(rows: list[Row]) -> list[list[int]]:
    """Row indices by prompt, groups in order of first appearance.

    Raises:
        BadInput: a group of one row, or groups of different sizes.
    """
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row.prompt, []).append(index)
    first, *others = groups.items()
    size = len(first[1])
    if size < 2:
        raise BadInput(
            f"line {rows[first[1][0]].line}: prompt {_short(first[0])} has 1 completion; a group needs 2"
        )
    for prompt, members in others:
        if len(members) != size:
            raise BadInput(
                f"line {rows[members[-1]].line}: prompt {_short(prompt)} has {len(members)} completions, "
                f"the first prompt {_short(first[0])} has {size}; all groups must be of one size"
            )
    return list(groups.values())


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _short(value: Any) -> str:
    return shown(value, 60)


def _is_tokens(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_TOKENS


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def _is_positive(value: Any) -> bool:
    return _is_number(value) and 0 < value <= MAX_TOKENS


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "prompt": ("a string, the group's id", _is(str)),
    "length": ("an integer number of tokens, at least 0", _is_tokens),
    "correct": ("true, false or null", _is(bool)),
    "truncated": ("true or false", _is(bool)),
    "answer_length": ("an integer number of tokens, at least 0", _is_tokens),
    "mean_logp": ("a finite number", _is_number),
    "think_tags": ("true or false", _is(bool)),
    "answer_tags": ("true or false", _is(bool)),
    "formatted": ("true or false", _is(bool)),
    "target": ("a finite number above 0", _is_positive),
    "lo": ("a finite number above 0", _is_positive),
    "hi": ("a finite number above 0", _is_positive),
    "level": ("a string", _is(str)),
    "mode": ("a string", _is(str)),
    "text": ("a string", _is(str)),
    "answer": ("a string", _is(str)),
    "think_prefilled": ("true or false", _is(bool)),
}
