"""The errors a user can cause or must act on. Each message says: value found, rule, remedy."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # this module imports nothing heavy
    from pydantic import BaseModel

Record = TypeVar("Record", bound="BaseModel")
VALUE_CHARS = 200  # of a value found, in a message
NAMED = 20  # keys that a message lists at most


class LenrlError(Exception):
    """Base of all errors with a message meant for the user; `exit_code` is the command line's."""

    exit_code = 1


class BadInput(LenrlError):
    """Input that was refused before any model loaded: a recipe, a key, a row, a file."""

    exit_code = 2


class RunFailed(LenrlError):
    """A run that had to stop: the last checkpoint is intact."""


class PluginFailed(RunFailed):
    """Code of the user's own that raised, or gave what its kind does not give; names file and line."""


def did_you_mean(word: Any, known: Iterable[str], form: str = "{}") -> str:
    """` Did you mean WORD?` with the nearest known word put into `form`; empty if none is near.

    >>> did_you_mean("kimmi", ["kimi", "alp"], "reward={}"), did_you_mean("x", ["kimi"])
    (' Did you mean reward=kimi?', '')
    """
    near = difflib.get_close_matches(str(word), list(known), 1, cutoff=0.5)
    return f" Did you mean {form.format(near[0])}?" if near else ""


def shown(value: Any, chars: int = VALUE_CHARS) -> str:
    """A value as a message shows it, on one line, cut."""
    text = repr(value)
    return text if len(text) <= chars else f"{text[: chars - 3]}..."


def validated(kind: type[Record], values: Mapping[str, Any], *words: str) -> Record:
    """A record of these values; `words`: prefix, owner and missing of `explain`.

    Raises:
        BadInput: an unknown key (with the nearest one), or a value out of bounds.
    """
    from pydantic import ValidationError

    try:
        return kind.model_validate(dict(values))
    except ValidationError as fault:
        raise BadInput(explain(fault, kind, *words)) from None


def explain(fault: Any, model: Any, prefix: str = "", owner: str = "", missing: str = "") -> str:
    """A pydantic `ValidationError` as our messages, a line each: key, value found, rule, nearest key.

    Args:
        fault: the error; only its `errors()` is used.
        model: the pydantic class that refused.
        prefix: of the keys, as a user writes them: `task`, `reward`.
        owner: what the options belong to, e.g. `reward 'kimi'`.
        missing: what to say of a key that is not there.
    """
    rules: dict[str, tuple[str, list[str]]] = {}  # of a union each branch complains: one line a key
    for error in fault.errors():
        path, fields = _path(error["loc"], model)
        key = ".".join([prefix, *path] if prefix else path)
        found = f"{key}={shown(error['input'])}"
        if error["type"] == "missing":
            found, rule = key, f"is missing. {missing or f'{owner} needs it'}".rstrip(".")
        elif error["type"] == "extra_forbidden":
            form = ".".join([*([prefix] if prefix else []), *path[:-1], "{}"])
            rule = f"{owner or 'there'} {'has' if owner else 'is'} no such key."
            rule += did_you_mean(path[-1], fields, form) or _listed(fields, owner)
        else:
            rule = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
            found = found if path else owner or prefix
        rules.setdefault(found, (": " if error["type"] != "missing" else " ", []))[1].append(rule)
    lines = [f"{found}{link}{' or '.join(dict.fromkeys(said))}" for found, (link, said) in rules.items()]
    return "\n".join(line if line.endswith((".", "?")) else f"{line}." for line in lines)


def _listed(fields: list[str], owner: str) -> str:
    if not fields:
        return " It takes none."
    names = ", ".join(fields)
    return f" {'It has' if owner else 'There are'} {names}." if len(fields) <= NAMED else ""


def _path(loc: Iterable[Any], model: Any) -> tuple[list[str], list[str]]:
    """A fault's place as keys (without pydantic's names for branches), and the fields known there."""
    path: list[str] = []
    fields: Mapping[str, Any] = model.model_fields
    inside = True
    for part in loc:
        if not inside and not isinstance(part, int):
            break
        path.append(str(part))
        if inside and part in fields:
            annotation = fields[str(part)].annotation  # a model, or a tuple of one
            models = (annotation, *getattr(annotation, "__args__", ()))
            nested = next((m.model_fields for m in models if hasattr(m, "model_fields")), None)
            inside = nested is not None
            fields = nested if nested is not None else fields
    return path, list(fields)
