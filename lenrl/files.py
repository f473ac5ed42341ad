"""Small files: written whole or not at all, read with a default. Standard library only."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput, shown

MAX_WORDS = 1_000_000  # bytes of a prompt or a template
PART = ".part"  # ends the name of a file that is being written
_DRAFT = re.compile(rf"(.+)\.\d+{re.escape(PART)}")


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file next to `path`, then put it in its place in one step; a failure leaves no trace.

    After a power failure too the file is the old one or the new one. Each process has a draft of its own.

    Raises:
        OSError: what `write` raises, or the file system.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    try:
        write(draft)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def remove_drafts(folder: Path, names: Collection[str]) -> None:
    """Remove what killed processes left of files of these names; the caller sees to it that no other writes them."""
    for path in folder.iterdir():
        draft = _DRAFT.fullmatch(path.name)
        if draft and draft[1] in names:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """UTF-8 text, whole or not at all."""
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    """JSON with a final newline, whole or not at all; NaN and infinity are refused.

    Raises:
        ValueError: a number that JSON does not have.
        OSError: the file can't be written.
    """
    write_text(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def read_json(path: Path, default: Any = None) -> Any:
    """A file's content; `default` where there is no such file, or no JSON in it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return default


def worded(value: Any, key: str) -> Any:
    """The text of a file where the value is `@FILE`; any other value as it is. A final line break is left out.

    Raises:
        BadInput: the file is not there, is no UTF-8, too large, empty, or begins with an @ itself.
    """
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    place, path = f"{key}={shown(value, 200)}", Path(value[1:]).expanduser()
    try:
        if path.stat().st_size > MAX_WORDS:
            raise BadInput(
                f"{place}: the file has more than {MAX_WORDS:,} bytes; give one with the words alone"
            )
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError as fault:
        raise BadInput(
            f"{place}: the file is no UTF-8 text ({fault.reason}, byte {fault.start}); save it as UTF-8"
        ) from None
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise BadInput(f"{place}: the file can't be read ({reason}); @ stands before a file's path") from None
    if not text.strip() or text.startswith("@"):
        wrong = "begins with an @, as the path of a file does" if text.strip() else "is empty"
        raise BadInput(f"{place}: the file {wrong}; write the words into it")
    return text


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file, one a line; a line that was cut by a killed process is left out. No file: none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    values = []
    for line in text.split("\n"):  # a text may hold the other characters that `splitlines` knows
        with suppress(ValueError, RecursionError):
            values.append(json.loads(line))
    return [value for value in values if isinstance(value, dict)]


def digest(value: Any, size: int = 8) -> str:
    """BLAKE2b of a plain value's canonical JSON, in hexadecimal.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1}), len(digest([], size=4))
    (True, 8)
    """
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
