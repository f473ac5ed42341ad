"""YAML files of others, looked through before they are built up: a short one can describe more than memory holds."""

from pathlib import Path
from typing import Any

import yaml

from lenrl.errors import BadInput

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000  # with what aliases repeat
MAX_NESTING = 50
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """The content of a file.

    Raises:
        BadInput: it can't be read, is no YAML, or is larger than any recipe.
    """
    text = checked_text(path)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as fault:
        raise BadInput(f"{path} is no YAML: {_line(fault)}. Restore it, or give another file") from None


def checked_text(path: Path) -> str:
    """A file's text, of which at least the size and the nesting are as they should.

    Raises:
        BadInput: they are not, or the file can't be read.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise BadInput(f"{path} has {size} bytes, a recipe has {MAX_BYTES} at most; is it one?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise BadInput(f"{path} can't be read: {fault}. Restore it, or give another file") from None
    if wrong := _size_fault(text):
        raise BadInput(f"{path} {wrong}; write its values out, without aliases (*name)")
    return text


def _size_fault(text: str, loader: Any = _Loader) -> str | None:
    """Too many values, or too deep; a text that is no YAML is left to who parses it."""
    sizes: list[list[Any]] = [[0, None]]  # of the open collections: values so far, anchor
    known: dict[str, int] = {}
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.CollectionStartEvent):
                sizes.append([1, event.anchor])
                if len(sizes) > MAX_NESTING:
                    return f"nests deeper than {MAX_NESTING}"
                continue
            if isinstance(event, yaml.AliasEvent):
                if event.anchor not in known:
                    return f"holds the alias *{event.anchor} inside of what it stands for, or of nothing"
                more = known[event.anchor]
            elif isinstance(event, yaml.CollectionEndEvent):
                more, anchor = sizes.pop()
                known |= {anchor: more} if anchor else {}
            elif isinstance(event, yaml.ScalarEvent):
                more = 1
                known |= {event.anchor: 1} if event.anchor else {}
            else:
                continue
            sizes[-1][0] += more
            if sizes[-1][0] > MAX_VALUES:
                return f"holds more than {MAX_VALUES} values"
    except (
        yaml.YAMLError,
        ValueError,
    ):  # libyaml's may be that it looks ahead into more depth than it allows
        return None if loader is yaml.SafeLoader else _size_fault(text, yaml.SafeLoader)
    return None


def _line(fault: Exception) -> str:
    return " ".join(str(fault).split())[:300]
