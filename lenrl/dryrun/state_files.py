"""Files of the strategies' state, which `lenrl score` reads before a batch and writes after it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput
from lenrl.files import write_text
from lenrl.strategies import registry
from lenrl.strategies.method import Method


def fresh(method: Method, state_in: Path | None) -> Method:
    """A method of its own, with the state of a file: scoring leaves the recipe's strategies without state."""
    slots: dict[str, Any] = {slot: registry.build(slot, registry.spec(s)) for slot, s in method.slots.items()}
    fresh = replace(method, **slots)
    if state_in is not None:
        fresh.load_state_dict(read_state(state_in))
    return fresh


def read_state(path: Path) -> dict[str, object]:
    """The strategies' state by slot.

    Raises:
        BadInput: unreadable, or not an object of objects.
    """
    try:
        state = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"--state {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"--state {path}: not JSON: {error}; expected what --save-state wrote") from None
    if not isinstance(state, dict) or not all(isinstance(part, dict) for part in state.values()):
        raise BadInput(f"--state {path}: expected an object of objects, as --save-state writes")
    return state


def write_state(path: Path, state: Mapping[str, object]) -> None:
    """Plain JSON, whole or not at all.

    Raises:
        BadInput: the file can't be written.
    """
    try:
        write_text(path, json.dumps(state))
    except OSError as error:
        raise BadInput(
            f"--save-state {path}: {error.strerror or error}; choose a file that can be written"
        ) from None
