"""SIGINT and SIGTERM in a training process: all processes leave at one optimizer step, with a whole checkpoint.

A handler only notes the signal, with one exception: work that a process does by itself, without the others
(sampling, verifying, a strategy's arithmetic), is left at once. After such work, and before each optimizer step
and micro-batch, the processes compare notes (`agree`), and so all raise `Stopped` at the same place.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)
UPDATE_S = 8.0  # after a signal, in which an optimizer step that has its rollout may still end
T = TypeVar("T")


class Stopped(SystemExit):
    """The run leaves because of a signal; `code` is 130 or 143. No `Exception`: nothing on the way may catch it."""


class _Left(BaseException):
    """Raised by the handler inside work that may be left."""


class StopSignal:
    """What a process knows of signals, and of its own progress.

    `beats` grows as long as the process makes progress, `doing` says at what: `Watchdog` looks at both.

    Args:
        highest: the greatest of the processes' integers; default: there is one process.
    """

    def __init__(self, highest: Callable[[int], int] | None = None) -> None:
        self.highest = highest
        self.number = 0  # the signal that came first, 0: none
        self.came = 0.0  # when, monotonic seconds
        self.beats = 0
        self.doing = "starting"
        self._training = False
        self._left = False  # work that may be left goes on

    def install(self) -> None:
        """Take SIGINT and SIGTERM over. Before `begin` there is nothing to save: they end the process."""
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def begin(self) -> None:
        """Training begins: from here on a signal waits for the others' agreement."""
        self._training = True
        if self.number:
            raise Stopped(128 + self.number)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.number:
            return
        self.number, self.came = number, time.monotonic()
        if not self._training:
            raise Stopped(128 + number)
        if self._left:
            self._left = False
            raise _Left

    def beat(self, doing: str) -> None:
        """Note that this process has got further."""
        self.beats += 1
        self.doing = doing

    def run(self, doing: str, work: Callable[[], T]) -> T:
        """Work that needs no other process, left on a signal.

        Every process must call it at the same place. Not for work with collectives in it.

        Raises:
            Stopped: on every process, if one of them has got a signal.
        """
        self.beat(doing)
        found = self._alone(work)
        self.agree()
        return found  # type: ignore[return-value]  # None only if `agree` raises

    def _alone(self, work: Callable[[], T]) -> T | None:
        try:
            try:
                self._left = True
                if not self.number:
                    return work()
            finally:
                self._left = False
        except _Left:  # at most one a process, perhaps in the very last moment of `work`
            pass
        return None

    def agree(self, patience_s: float = 0.0) -> None:
        """Compare notes with the other processes; collective.

        Args:
            patience_s: seconds for which a signal is not yet told, in the middle of something worth finishing.

        Raises:
            Stopped: on every process, if one of them has got a signal.
        """
        if number := self.heard(patience_s):
            raise Stopped(128 + number)

    def heard(self, patience_s: float = 0.0) -> int:
        """The signal that any of the processes has got, 0: none; collective, see `agree`."""
        told = self.number if self.number and time.monotonic() - self.came >= patience_s else 0
        if self.highest is None:
            return told
        doing = self.doing
        self.beat(f"{doing}, waiting for the other processes")
        found = self.highest(told)
        self.beat(doing)
        return found
