"""A method as a Python caller names it: a recipe's name, a mapping of slots, or a `Method`."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lenrl.config import SLOTS, Recipe, compose
from lenrl.errors import BadInput, did_you_mean
from lenrl.strategies import registry
from lenrl.strategies.method import Method

PLAIN = "grpo"  # the recipe of plain GRPO, whose slots stand where a mapping names none
Given = str | Mapping[str, Any] | Method


@dataclass(frozen=True)
class NamedMethod:
    """A method with the name of its recipe, and the fields of `trainer` that the recipe sets for it."""

    name: str
    method: Method
    trainer: Mapping[str, Any]


def read(given: Given | None, plugins: Sequence[Path | str] = (), **options: Any) -> NamedMethod:
    """The method that a caller means; None is plain GRPO.

    Args:
        given: a recipe's name or file (`"grpo_lambda"`); slots by name, `{"reward": {"name": "kimi", "weight": 0.4}}`
            or `{"reward": "kimi"}`, the others as in plain GRPO; or a method.
        plugins: files with strategies of the caller's own.
        **options: of its strategies, each by the name of an option that one slot has: `alpha=0.3`.

    Raises:
        BadInput: an unknown recipe, slot, strategy or option, or an option that several slots have.
    """
    for plugin in plugins:
        registry.load_plugin(plugin)
    if given is None:
        named = NamedMethod(PLAIN, plain().method, {})
    elif isinstance(given, Method):
        named = NamedMethod("method", given, {})
    elif isinstance(given, str):
        recipe = compose(given)
        own = {k: v for k, v in recipe.trainer.items() if plain().trainer.get(k) != v}
        named = NamedMethod(recipe.recipe, recipe.method, own)
    elif isinstance(given, Mapping):
        named = NamedMethod("method", Method(**{**plain().method.slots, **_slots(given)}), {})  # type: ignore[arg-type]
    else:
        raise BadInput(
            f"method={given!r}: give a recipe's name, a mapping of slots such as {{'reward': 'kimi'}}, or a Method"
        )
    return replace(named, method=_with_options(named.method, options)) if options else named


@functools.cache
def plain() -> Recipe:
    """Recipe of plain GRPO, composed once: its strategies have no state."""
    return compose(PLAIN)


def _slots(given: Mapping[str, Any]) -> dict[str, Any]:
    for slot in given:
        if slot not in SLOTS:
            hint = did_you_mean(slot, SLOTS)
            raise BadInput(f"method: {slot!r} is no slot; there are {', '.join(SLOTS)}.{hint}")
    return {
        slot: registry.build(slot, {"name": spec} if isinstance(spec, str) else spec)
        for slot, spec in given.items()
    }


def _with_options(method: Method, options: Mapping[str, Any]) -> Method:
    specs = {slot: registry.spec(strategy) for slot, strategy in method.slots.items()}
    for name, value in options.items():
        slots = [slot for slot in specs if name in specs[slot] and name != "name"]
        if len(slots) != 1:
            known = sorted({key for spec in specs.values() for key in spec} - {"name"})
            rule = (
                f"several slots have it ({', '.join(slots)}): give a mapping of slots"
                if slots
                else (f"the method has the options {', '.join(known) or 'none'}.{did_you_mean(name, known)}")
            )
            raise BadInput(f"option {name}={value!r}: {rule}")
        specs[slots[0]][name] = value
    built: dict[str, Any] = {slot: registry.build(slot, spec) for slot, spec in specs.items()}
    return replace(method, **built)
