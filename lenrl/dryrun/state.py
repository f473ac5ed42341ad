"""The strategies' state as a file: JSON, a strategy's slot a key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote.

    Raises:
        BadInput: unreadable, or not an object of objects.
    """
    try:
        state = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"--state {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise BadInput(f"--state {path}: not JSON: {error}; expected what --save-state wrote") from None
    if not isinstance(state, dict) or not all(isinstance(part, dict) for part in state.values()):
        raise BadInput(f"--state {path}: expected an object of objects, as --save-state writes")
    return state


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(state), "utf-8")
        os.replace(part, path)
    except OSError as error:
        raise BadInput(
            f"--save-state {path}: {error.strerror or error}; choose a file that can be written"
        ) from None
