"""SIGINT and SIGTERM in a training process: all processes leave at one optimizer step, with a whole checkpoint.

A handler only notes the signal, with one exception: work that a process does by itself, without the others
(sampling, verifying, a strategy), is broken off at once. After such work, and before each optimizer step
and micro-batch, the processes compare notes (`agree`), and so all raise `Stopped` at the same place.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGREE_EVERY = 16  # forward passes of a sharded generation between two looks for signals
UPDATE_S = 8.0  # after a signal, in which an optimizer step that has its rollout may still end
T = TypeVar("T")


class Stopped(SystemExit):
    """The run leaves because of a signal; `code` is 130 or 143. No `Exception`: nothing on the way may catch it."""


class _Left(BaseException):
    """Raised by the handler inside work that may be broken off."""


class StopSignal:
    """A process's knowledge of signals, and of its own progress.

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
        self._left = False  # work that may be broken off is under way

    def install(self) -> None:
        """Handle SIGINT and SIGTERM. Before `begin` there is nothing to save: they end the process."""
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
        """Do work that needs no other process, broken off on a signal; its value.

        Every process must call it at the same place. Not for work with collectives in it.

        Raises:
            Stopped: on every process, if one of them has got a signal.
        """
        self.beat(doing)
        value = self._alone(work)
        self.agree()
        return value  # type: ignore[return-value]  # None only if `agree` raises

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
            patience_s: seconds for which a signal is kept back, in the middle of something worth finishing.

        Raises:
            Stopped: on every process, if one of them has got a signal.
        """
        if number := self.heard(patience_s):
            raise Stopped(128 + number)

    def heard(self, patience_s: float = 0.0) -> int:
        """The signal that any of the processes has got, 0: none; collective, see `agree`."""
        number = self.number if self.number and time.monotonic() - self.came >= patience_s else 0
        if self.highest is None:
            return number
        doing = self.doing
        self.beat(f"{doing}, waiting for the other processes")
        number = self.highest(number)
        self.beat(doing)
        return number


@dataclass
class SampledWork:
    """Work that samples from the model, broken off on a signal.

    Where each forward pass is a collective (ZeRO-3, FSDP) no process may leave by itself: all count their
    passes, which transformers keeps equal, and compare notes now and then.
    """

    stop: StopSignal
    collective: Callable[[], bool]  # forward passes are collectives now
    whole: bool  # the work goes on to its end, as vLLM's does
    _passes: int = field(default=0, init=False)  # 1 + those of the collective work that goes on

    def forward(self) -> None:
        """A forward pass begins: the process makes progress."""
        self.stop.beat(self.stop.doing)
        if self._passes:
            self._passes += 1
            if self._passes % AGREE_EVERY == 0:
                self.stop.agree()

    def run(self, doing: str, work: Callable[[], T]) -> T:
        """The work's value; see `StopSignal.run`."""
        collective = self.collective()
        if not collective and not self.whole:
            return self.stop.run(doing, work)
        self.stop.beat(doing)
        self._passes = int(collective)
        try:
            value = work()
        finally:
            self._passes = 0
        self.stop.agree()
        return value
