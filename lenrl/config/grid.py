"""Hydra's grid grammar for sweeps: which keys take several values, and which values.

`a,b`, `choice(a,b)`, `range(0,1,0.1)`, `interval(1e-5,1e-3)` and `tag`, `sort`, `shuffle` around them.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lenrl.config.overrides import parse, read
from lenrl.errors import BadInput
from lenrl.recipe_paths import GROUPS, RECIPES, group_choices

MOST_VALUES = 10_000  # of one key
OWNED = ("name", "output_dir")  # of a sweep these name its own folder
SET_BY_SWEEP = ("resume", "resume_with_changes")


@dataclass(frozen=True)
class Axis:
    """One swept key: `values` as the grammar writes them or, without any, the interval from `low` to `high`."""

    key: str
    values: tuple[str, ...] = ()
    ordered: bool = False  # the values are numbers in a row
    low: float = 0.0
    high: float = 0.0
    whole: bool = False  # only whole numbers between low and high, both included
    log: bool = False  # factors matter, not differences


@dataclass(frozen=True)
class Grid:
    """Lines of a sweep, read: settings of every trial, swept keys, and the sweep's own folder."""

    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]
    name: str | None
    output_dir: str | None


def spread(lines: Sequence[str]) -> Grid:
    """Read the lines of a sweep; `sweep=NAME` stands for the lines of `recipes/sweep/NAME.yaml`.

    Raises:
        BadInput: a line is wrong, a key stands twice, or a key can't be swept.
    """
    fixed: list[str] = []
    axes: dict[str, Axis] = {}
    for line in itertools.chain.from_iterable(map(_lines, lines)):
        override = read(line)
        key = override.key_or_group
        if key.split(".")[0] in SET_BY_SWEEP:
            raise BadInput(f"{line!r}: a sweep resumes its trials by itself. Remove it.")
        if not override.is_sweep_override():
            fixed.append(line)
            continue
        if key in OWNED:
            raise BadInput(f"{line!r}: of a sweep, {key} names its one folder. Give one value.")
        if key in axes:
            raise BadInput(f"{key} is swept twice; {line!r} is the second time. Keep one of them.")
        axes[key] = _axis(line, override)
    owned = {a.keys[0]: a.value for a in parse(fixed) if a.keys[0] in OWNED}
    kept = tuple(line for line in fixed if read(line).key_or_group not in OWNED)
    for line in kept:
        if read(line).key_or_group in axes:
            raise BadInput(f"{line!r}: the key is swept too. Keep one of them.")
    name, place = (None if owned.get(key) is None else str(owned[key]) for key in OWNED)
    return Grid(kept, tuple(axes.values()), name, place)


def _lines(line: str) -> list[str]:
    """A line, or those of the group that it names."""
    if not line.startswith("sweep="):
        return [line]
    name = line.removeprefix("sweep=")
    if name not in group_choices("sweep"):
        raise BadInput(f"{line!r}: the ready sweeps are {', '.join(group_choices('sweep'))}.")
    text = Path(RECIPES, "sweep", f"{name}.yaml").read_text(encoding="utf-8")
    return [f"{key}={value}" for key, value in yaml.safe_load(text).items()]


def _axis(line: str, override: Any) -> Axis:
    from hydra.errors import HydraException

    key, value = override.key_or_group, override.value()
    if override.is_interval_sweep():
        axis = Axis(
            key,
            low=value.start,
            high=value.end,
            whole=isinstance(value.start, int) and isinstance(value.end, int),
            log="log" in value.tags,
        )
        if not axis.low < axis.high or (axis.log and axis.low <= 0):
            raise BadInput(f"{line!r}: an interval goes up, and on a log scale from above 0.")
        return axis
    if override.value_type.name == "GLOB_CHOICE_SWEEP":
        if key not in GROUPS:
            raise BadInput(f"{line!r}: glob() knows {', '.join(GROUPS)} only. List the values: {key}=a,b.")
        return Axis(key, tuple(value.filter(group_choices(key))))
    try:
        texts = itertools.islice(override.sweep_string_iterator(), MOST_VALUES + 1)
        values = tuple(dict.fromkeys(texts))
    except (HydraException, ValueError) as fault:
        raise BadInput(f"{line!r} can't be read: {fault}.") from None
    if not values or len(values) > MOST_VALUES:
        raise BadInput(f"{line!r} gives {'no value' if not values else f'over {MOST_VALUES} values'}.")
    ordered = override.is_range_sweep()
    if getattr(value, "shuffle", False):  # the same order whenever the sweep is continued
        values = tuple(sorted(values, key=lambda text: hashlib.blake2b(text.encode()).digest()))
        ordered = False
    return Axis(key, values, ordered)
