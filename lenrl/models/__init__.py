"""The embedded tiny reasoner, and where a model's name leads."""

from __future__ import annotations

from pathlib import Path

TINY = Path(__file__).parent / "tiny"


def locate(path: str) -> str:
    """`tiny` is the embedded model's folder; anything else is a local folder or a hub id, as it stands."""
    return str(TINY) if path == "tiny" else path
