"""The embedded tiny reasoner, and where a model's name leads."""

from __future__ import annotations

import re
from pathlib import Path

from lenrl.errors import BadInput

TINY = Path(__file__).parent / "tiny"
CONFIGS = ("config.json", "adapter_config.json")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def locate(path: str) -> str:
    """`tiny` is the embedded model's folder; anything else is a local folder or a hub id, as it stands."""
    return str(TINY) if path == "tiny" else path


def find(name: str) -> str:
    """The folder or hub id of a model: `tiny`, a model's or adapter's folder, a run's folder, or a hub id.

    Raises:
        BadInput: a path that does not exist or holds no model, or a name that can't be a hub id.
    """
    path = Path(locate(name)).expanduser()
    if path.is_dir():
        for folder in (path, path / "model"):
            if any((folder / config).is_file() for config in CONFIGS):
                return str(folder)
        raise BadInput(
            f"model {name!r}: the folder holds neither {' nor '.join(CONFIGS)}, nor a model/ with one; "
            "give a folder that save_pretrained or a finished run wrote"
        )
    if (
        path.exists()
        or not HUB_ID.fullmatch(name)
        or name.startswith(".")
        or path.parent.is_dir()
        and "/" in name
    ):
        raise BadInput(
            f"model {name!r}: no such folder; give tiny, a model's folder, a run's folder or a hub id"
        )
    return name
