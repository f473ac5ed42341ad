"""Seconds of training over all the legs of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping


class Clock:
    """Counts from its making on, and from where the leg before left off."""

    def __init__(self) -> None:
        self.before = 0.0  # seconds of earlier legs, up to the checkpoint
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of all legs, without what a killed leg did past its last checkpoint."""
        return self.before + time.monotonic() - self.began

    def state_dict(self) -> dict[str, float]:
        """Plain JSON."""
        return {"seconds": round(self.seconds, 3)}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on counting from there."""
        self.before, self.began = state["seconds"], time.monotonic()
