"""The rank that made a run hang, told apart from those that wait for it."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

WAITING = ("/torch/distributed/", "/torch/autograd/", "/accelerate/")
"""Parts of the paths of files in which a rank waits for others."""


@dataclass(frozen=True)
class Standing:
    """A rank of a run that hangs.

    Attributes:
        doing: what it began last, as `StopSignal.doing` says it; empty: nothing was heard of it.
        idle_s: seconds since its last progress.
        answers: its watchdog still runs; else it runs no Python any more.
        where: function and line of its main thread; empty: not known.
        waits: that is a place at which ranks wait for each other.
    """

    doing: str
    idle_s: float
    answers: bool
    where: str = ""
    waits: bool = False


def culprit(ranks: Mapping[int, Standing]) -> int:
    """The rank that stopped first: one that does not answer, else one that does not wait, else the longest idle.

    >>> waiting = Standing("update", 61.0, answers=True, waits=True)
    >>> culprit({0: waiting, 1: Standing("verification", 60.0, answers=True)})
    1
    >>> culprit({0: Standing("update", 62.0, answers=True), 1: Standing("update", 60.0, answers=False)})
    1
    """
    mute = [rank for rank, standing in ranks.items() if not standing.answers]
    busy = [rank for rank, standing in ranks.items() if not (standing.waits or "waiting" in standing.doing)]
    return max(mute or busy or list(ranks), key=lambda rank: ranks[rank].idle_s)


def place() -> tuple[str, bool]:
    """Function and line of this process's main thread, and whether ranks wait for each other there."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    innermost = traceback.extract_stack(frame)[-1]
    where = f"{innermost.name} ({innermost.filename}, line {innermost.lineno})"
    return where, any(part in innermost.filename for part in WAITING)


def main_stack() -> str:
    """The stack of the main thread, most recent call last."""
    return "".join(traceback.format_stack(sys._current_frames()[threading.main_thread().ident or 0]))
