"""Overrides in Hydra's grammar, without those parts that a single run refuses."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from lenrl.errors import BadInput, did_you_mean, shown
from lenrl.recipe_paths import GROUPS

MAX_CHARS = 20_000  # of an override
DEEPEST = 50  # brackets in brackets
LISTS = "For a list write [a,b], for text with a comma '\"a,b\"'."


@dataclass(frozen=True)
class Assignment:
    """One override: set or delete the value at a path of keys."""

    keys: tuple[str, ...]
    value: Any
    delete: bool
    line: str

    @property
    def chooses_group(self) -> bool:
        """`task=chain`: the name of a file in a group."""
        named = len(self.keys) == 1 and self.keys[0] in GROUPS and isinstance(self.value, str)
        return named and not self.delete

    def sets(self, keys: Sequence[str]) -> bool:
        """It gives the value at this path of keys, alone or in a mapping."""
        depth = len(self.keys)
        if self.delete or self.keys != tuple(keys[:depth]):
            return False
        value = self.value
        for key in keys[depth:]:
            if not isinstance(value, Mapping) or key not in value:
                return False
            value = value[key]
        return True

    def require_found(self, found: Any) -> None:
        """Refuse to remove what is not as the line says: `~key=value` is about that value.

        Raises:
            BadInput: another value stands there.
        """
        if "=" in self.line and found != self.value:
            raise BadInput(
                f"override {self.line!r}: {'.'.join(self.keys)} is {shown(found, 60)}, and nothing is removed. Write "
                f"~{'.'.join(self.keys)} to remove it whatever it is."
            )


def quoted(text: str) -> str:
    r"""Text as one value of Hydra's grammar, whatever it holds: a backslash stands for itself, but before a quote.

    >>> print(quoted('a\\b, "c"'))
    "a\b, \"c\""
    """
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'


def word(text: str) -> str:
    """Text as one value of Hydra's grammar, in quotes where it would be read as something else, or not at all.

    >>> word("runs/a-1"), word("Null"), word("né")
    ('runs/a-1', '"Null"', '"né"')
    """
    plain = re.fullmatch(r"[A-Za-z/][\w./-]*", text, re.ASCII)
    return text if plain and text.lower() not in ("true", "false", "null", "nan", "inf") else quoted(text)


def parse(lines: Sequence[str]) -> list[Assignment]:
    """Read `key=value` lines.

    Raises:
        BadInput: a line does not follow the grammar, sweeps over several values, or names Hydra's own keys.
    """
    assignments = []
    for line in lines:
        override = read(line)
        if override.is_sweep_override():
            raise BadInput(
                f"override {line!r} gives several values, a run takes one. To try each: "
                f"`lenrl sweep RECIPE {line}`. {LISTS}"
            )
        keys = tuple(override.key_or_group.split("."))
        assignments.append(Assignment(keys, _whole(override.value(), line), override.is_delete(), line))
    return assignments


def _whole(value: Any, line: str) -> Any:
    """`1e3` is the whole number 1000; `1000.0` is none."""
    written = line.partition("=")[2].strip()
    exact = isinstance(value, float) and abs(value) < 2**53 and value.is_integer()
    return int(value) if exact and re.fullmatch(r"[+-]?\d+[eE]\+?\d+", written) else value


def read(line: str) -> Any:
    """One line as Hydra's `Override`, which may give several values.

    Raises:
        BadInput: it does not follow the grammar, or names Hydra's own keys.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if line in ("-m", "--multirun") or line.startswith("hydra.") or line.startswith("hydra/"):
        raise BadInput(
            f"{line!r}: a launch is one experiment, so that its processes can't mix two. "
            "`lenrl sweep RECIPE key=a,b` runs several, each as a launch of its own."
        )
    if len(line) > MAX_CHARS:
        raise BadInput(
            f"override {shown(line, 60)}: {len(line)} characters, at most {MAX_CHARS}; write a recipe file"
        )
    if _depth(line) > DEEPEST:
        raise BadInput(f"override {shown(line, 60)} nests deeper than {DEEPEST}; write a flat value")
    try:
        override = OverridesParser.create().parse_override(line)
    except HydraException as fault:
        raise BadInput(
            f"override {shown(line)} can't be read: {_first_line(fault)[:300]}. Write key=value, and quote a value "
            f"with spaces, brackets, commas or equal signs for both shell and grammar: 'key=\"a, b\"'."
        ) from None
    if override.package is not None or "/" in override.key_or_group:
        raise BadInput(f"override {line!r}: write the key as section.option, without @ or /.")
    return override


def sets(lines: Sequence[str], keys: Sequence[str]) -> bool:
    """One of the lines sets the value at this path of keys."""
    return any(a.sets(keys) for a in parse(lines))


def sections(lines: Sequence[str], known: Sequence[str]) -> dict[str, Any]:
    """Overrides as nested plain values, for verbs that take settings without a recipe.

    Raises:
        BadInput: a first key is not among `known`, or a line gives several values.
    """
    for line in lines:
        if read(line).is_sweep_override():
            raise BadInput(f"{line!r} gives several values. {LISTS}")
    values: dict[str, Any] = {}
    for a in parse(lines):
        if a.keys[0] not in known:
            hint = did_you_mean(a.keys[0], known, "{}=") or f" There are {', '.join(known)}."
            raise BadInput(f"{a.line!r}: there is no such option.{hint}")
        _assign(values, replace(a, keys=("", *a.keys)))
    return values


def choose(layers: Sequence[Any], slot: str, assignments: Sequence[Assignment]) -> dict[str, Any]:
    """The options of one slot after all layers (files, in order) and overrides (in any order).

    A layer or override that names another strategy starts anew: the former one's options go.
    """
    current: dict[str, Any] = {}
    for layer in layers:
        current = _layered(current, slot, layer)
    own = [a for a in assignments if a.keys[0] == slot]
    choices = [a for a in own if len(a.keys) == 1 or a.keys[1:] == ("name",)]
    names = [name for a in choices if (name := _name(a)) is not None]
    if any(name != names[0] for name in names):
        raise BadInput(
            f"{slot} is chosen twice: {' and '.join(repr(a.line) for a in choices)}. Keep one of them."
        )
    for a in choices:
        if a.delete:
            raise BadInput(
                f"override {a.line!r}: a slot can't be empty. Choose its neutral strategy by name."
            )
        current = _layered(current, slot, a.value if len(a.keys) == 1 else {"name": a.value})
    for a in own:
        if a not in choices:
            _assign(current, a)
    return current


def _layered(current: dict[str, Any], slot: str, layer: Any) -> dict[str, Any]:
    if isinstance(layer, str):
        layer = {"name": layer}
    if not isinstance(layer, Mapping):
        raise BadInput(f"{slot}={layer!r}: a slot is a strategy's name or {{name: ..., option: ...}}.")
    keeps = layer.get("name", current.get("name")) == current.get("name")
    return {**(current if keeps else {}), **layer}


def _name(assignment: Assignment) -> Any:
    value = assignment.value
    if len(assignment.keys) == 1 and isinstance(value, Mapping):
        return value.get("name")
    return value


def _assign(target: Any, a: Assignment) -> None:
    *path, last = a.keys[1:]
    for key in path:
        if isinstance(target, list) and key.isdigit() and int(key) < len(target):
            target = target[int(key)]
        elif isinstance(target, dict):
            target = target.setdefault(key, {})
        else:
            raise BadInput(f"override {a.line!r}: there is nothing at {key!r} to set an option of.")
    if isinstance(target, list) and last.isdigit() and int(last) < len(target) and not a.delete:
        target[int(last)] = a.value
    elif not isinstance(target, dict):
        raise BadInput(f"override {a.line!r}: {a.keys[-2]!r} holds {target!r}, which has no option {last!r}.")
    elif a.delete:
        if last not in target:
            raise BadInput(f"override {a.line!r}: there is no such option to remove.")
        a.require_found(target[last])
        del target[last]
    else:
        target[last] = a.value


def _depth(line: str) -> int:
    """Brackets in brackets, quoted ones too."""
    steps = {**dict.fromkeys("[{(", 1), **dict.fromkeys("]})", -1)}
    return max(accumulate(steps.get(character, 0) for character in line), default=0)


def _first_line(fault: Exception) -> str:
    text = next((line for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
    return (
        re.sub(r"^(Error parsing override '[^']*'|See https\S+)", "", text).strip(" :\n") or "not key=value"
    )
