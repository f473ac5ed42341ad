"""wandb, trackio and tensorboard beside the local log: what they do wrong must not end a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

log = logging.getLogger("lenrl")


class Forgiving:
    """A callback of transformers whose first exception is said once, loudly, and switches it off."""

    def __init__(self, callback: Any) -> None:
        self.callback = callback
        self.broken = False

    def __getattr__(self, event: str) -> Any:
        found = getattr(self.callback, event)
        if not event.startswith("on_"):
            return found

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if self.broken:
                return None
            try:
                return found(*args, **kwargs)
            except Exception as fault:
                self.broken = True
                log.warning(
                    "%s failed in %s (%s: %s): it gets nothing more of this run. Training goes on, "
                    "metrics.jsonl is complete.",
                    type(self.callback).__name__, event, type(fault).__name__, str(fault)[:300],
                )  # fmt: skip
                return None

        return guarded


def forgive(callbacks: list[Any], kinds: Sequence[type]) -> None:
    """Wrap the callbacks of these kinds, in place."""
    for place, callback in enumerate(callbacks):
        if isinstance(callback, tuple(kinds)):
            callbacks[place] = Forgiving(callback)
