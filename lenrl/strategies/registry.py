"""Strategies by name: found by walking this package, through entry points, and in plug-in files.

Nothing is registered by being imported, and a recipe can only name what is found here: a dotted path names
nothing.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from lenrl.errors import BadInput, did_you_mean, explain
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

_plugins: dict[Path, tuple[type[Strategy], ...]] = {}


def available(slot: str) -> dict[str, type[Strategy]]:
    """All strategies of a slot by name: built-in ones, installed ones, plug-ins.

    Raises:
        BadInput: the slot does not exist, or an installed strategy cannot be loaded.
    """
    return _own(slot) | {point.name: _installed(slot, point) for point in _entry_points(slot)}


def build(slot: str, spec: Mapping[str, Any]) -> Strategy:
    """The strategy that `{name: ..., option: ...}` describes.

    Raises:
        BadInput: unknown name or option (the nearest one is named), or a value that its option refuses.
    """
    if not isinstance(spec, Mapping):
        raise BadInput(f"{slot}={spec!r}: expected a mapping such as {{name: ..., option: ...}}")
    options = dict(spec)
    kind = _find(slot, options.pop("name", None))
    try:
        return kind(**options)
    except ValidationError as error:
        raise BadInput(explain(error, kind, slot, f"{slot} {kind.name!r}")) from None


def spec(strategy: Strategy) -> dict[str, Any]:
    """`{"name": ..., every option}`, plain JSON; `build` makes an equal strategy of it."""
    return {"name": strategy.name, **strategy.model_dump(mode="json")}


def load_plugin(path: Path | str) -> list[type[Strategy]]:
    """Import a Python file once and make its strategies available; the user names it on the command line.

    Raises:
        BadInput: no such file, the file raises, it holds no strategy, or a name is taken.
    """
    file = Path(path).resolve()
    if file in _plugins:
        return list(_plugins[file])
    if not file.is_file():
        raise BadInput(f"--plugin {path}: no such file")
    module = _import_file(file)
    kinds = _strategies(module)
    if not kinds:
        names = ", ".join(base.__name__ for base in BASES)
        raise BadInput(f"--plugin {path}: it defines no strategy; derive a class from one of {names}")
    for kind in kinds:
        if kind.name in _own(kind.slot):
            raise BadInput(f"--plugin {path}: {kind.slot} {kind.name!r} exists already; choose another name")
    _plugins[file] = tuple(kinds)
    return kinds


def _find(slot: str, name: Any) -> type[Strategy]:
    own = _own(slot)
    if isinstance(name, str):
        if name in own:
            return own[name]
        for point in _entry_points(slot):
            if point.name == name:
                return _installed(slot, point)
    known = sorted({*own, *(point.name for point in _entry_points(slot))})
    if name is None:
        raise BadInput(f"{slot}.name is missing; choose one of {', '.join(known)}")
    path = " A recipe names a strategy, never a path to code." if "." in str(name) else ""
    hint = did_you_mean(name, known, f"{slot}={{}}")
    raise BadInput(f"{slot}.name={name!r} does not exist; there are {', '.join(known)}.{path}{hint}")


def _own(slot: str) -> dict[str, type[Strategy]]:
    if slot not in SLOTS:
        raise BadInput(f"slot {slot!r} does not exist; there are {', '.join(SLOTS)}")
    plugins = {kind.name: kind for kinds in _plugins.values() for kind in kinds if kind.slot == slot}
    return {**_walk(slot), **plugins}


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


def _entry_points(slot: str) -> EntryPoints:
    return entry_points(group=f"lenrl.{slot}s")


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


def _installed(slot: str, point: EntryPoint) -> type[Strategy]:
    where = f"installed {slot} {point.name!r} ({point.value})"
    try:
        kind = point.load()
    except Exception as error:
        raise BadInput(
            f"{where} cannot be loaded: {type(error).__name__}: {error}; repair or uninstall it"
        ) from error
    base = SLOTS[slot][0]
    if not (inspect.isclass(kind) and issubclass(kind, base) and kind.name == point.name):
        raise BadInput(f"{where} must be a subclass of {base.__name__} with name = {point.name!r}")
    return kind


def _import_file(file: Path) -> ModuleType:
    name = f"lenrl_plugin_{file.stem}_{len(_plugins)}"
    module_spec = importlib.util.spec_from_file_location(name, file)
    if module_spec is None or module_spec.loader is None:
        raise BadInput(f"--plugin {file}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # pydantic looks up the annotations' module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadInput(f"--plugin {file}: importing it raised {type(error).__name__}: {error}") from error
    return module
