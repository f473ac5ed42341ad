"""Strategies by name: found by walking this package, and among the plug-ins.

Nothing is registered by being imported, and a recipe can only name what is found here: a dotted path names
nothing.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from lenrl import plugins
from lenrl.errors import BadInput, validated
from lenrl.strategies.base import Advantage, Budget, Objective, Reward, Sampling, Strategy, Truncation

SLOTS: dict[str, tuple[type[Strategy], str]] = {  # base class, package here; entry-point group: lenrl.<slot>s
    "budget": (Budget, "budgets"),
    "truncation": (Truncation, "truncation"),
    "reward": (Reward, "rewards"),
    "advantage": (Advantage, "advantages"),
    "objective": (Objective, "objectives"),
    "sampling": (Sampling, "sampling"),
}
BASES = tuple(base for base, _ in SLOTS.values())


def available(slot: str) -> dict[str, type[Strategy]]:
    """All strategies of a slot by name: built-in ones, installed ones, plug-ins.

    Raises:
        BadInput: the slot does not exist, or an installed strategy cannot be loaded.
    """
    return _own(slot) | {point.name: plugins.installed(slot, point) for point in plugins.of_packages(slot)}


def built_in(slot: str) -> dict[str, type[Strategy]]:
    """The strategies of this package by name."""
    return _walk(slot)


def build(slot: str, spec: Mapping[str, Any]) -> Strategy:
    """The strategy that `{name: ..., option: ...}` describes.

    Raises:
        BadInput: unknown name or option (the nearest one is named), or a value that its option refuses.
    """
    if not isinstance(spec, Mapping):
        raise BadInput(f"{slot}={spec!r}: expected a mapping such as {{name: ..., option: ...}}")
    options = dict(spec)
    kind = _find(slot, options.pop("name", None))
    return validated(kind, options, slot, f"{slot} {kind.name!r}")


def spec(strategy: Strategy) -> dict[str, Any]:
    """`{"name": ..., every option}`, plain JSON; `build` makes an equal strategy of it."""
    return {"name": strategy.name, **strategy.model_dump(mode="json")}


def load_plugin(path: Path | str) -> list[type[Strategy]]:
    """Import a plug-in file and make its strategies available; they are returned.

    Raises:
        BadInput: what `lenrl.plugins.load` refuses, or a strategy with a built-in one's name.
    """
    file = plugins.load(path)
    return [kind for slot in SLOTS for kind in _own(slot).values() if plugins.file_of(kind) is file]


def _find(slot: str, name: Any) -> type[Strategy]:
    _check_slot(slot)
    if name is None:
        known = plugins.names(slot, _walk(slot))
        raise BadInput(f"{slot}.name is missing; choose one of {', '.join(known)}")
    path = "A recipe names a strategy, never a path to code." if "." in str(name) else ""
    return plugins.named(slot, name, _walk(slot), f"{slot}={{}}", path)


def _own(slot: str) -> dict[str, type[Strategy]]:
    _check_slot(slot)
    return {**_walk(slot), **plugins.of_files(slot, _walk(slot))}


def _check_slot(slot: str) -> None:
    if slot not in SLOTS:
        raise BadInput(f"slot {slot!r} does not exist; there are {', '.join(SLOTS)}")


@cache
def _walk(slot: str) -> dict[str, type[Strategy]]:
    package = importlib.import_module(f"lenrl.strategies.{SLOTS[slot][1]}")
    kinds: dict[str, type[Strategy]] = {}
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        for kind in _strategies(importlib.import_module(info.name)):
            if kind.name in kinds:
                raise RuntimeError(
                    f"two {slot} strategies are named {kind.name!r}: {kinds[kind.name]} and {kind}"
                )
            kinds[kind.name] = kind
    return dict(sorted(kinds.items()))


def _strategies(module: ModuleType) -> list[type[Strategy]]:
    """Concrete strategies that the module itself defines."""
    return [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind)
        and issubclass(kind, BASES)
        and kind.__module__ == module.__name__
        and not inspect.isabstract(kind)
        and isinstance(getattr(kind, "name", None), str)
    ]
