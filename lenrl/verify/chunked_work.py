"""Work on items in chunks, in worker processes that may die of one of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from lenrl.verify.limits import costly
from lenrl.verify.process_limits import SPENT_EXIT

_CHUNK = 16  # items a task; a failing chunk is tried again item by item
_MEMORY_EXITS = (-6,)  # abort(): what a C library does when it cannot allocate


class ChunkedWork:
    """Results of items that the workers work on while more of them come.

    Args:
        size: items of a chunk; 0: as many as spread well.
        start: starts on a chunk; the task's value are the results of its first items, in order.
        failed: is told that a task failed, and whether its pool broke.
        alone: the result of a single item that a worker did not survive, from it and the outcome.
    """

    def __init__(
        self,
        workers: int,
        size: int,
        start: Callable[[list], Future],
        failed: Callable[[Future, bool], object],
        alone: Callable[[Any, str], Any],
    ) -> None:
        self._workers, self._size = workers, size
        self._start, self._failed, self._alone = start, failed, alone
        self._results: dict[Any, Any] = {}
        self._new: list[Any] = []  # items in no chunk yet
        self._waiting: list[list] = []  # chunks, the next one last
        self._running: dict[Future, list] = {}
        self._retried: set[Any] = set()

    def add(self, items: Sequence[Any]) -> None:
        """Take new items on; returns at once."""
        self._new += items
        self._take([future for future in self._running if future.done()])

    def results(self) -> dict[Any, Any]:
        """The result of each item, once there is one for all."""
        while self._new or self._waiting or self._running:
            self._take(wait(self._running, return_when=FIRST_COMPLETED).done if self._running else ())
        return self._results

    def _take(self, done: Collection[Future]) -> None:
        """Take tasks' results, and start as many new ones."""
        for future in done:
            self._settle(future, self._running.pop(future))
        while (self._new or self._waiting) and len(self._running) < 2 * self._workers:
            if not self._waiting:
                self._waiting, self._new = chunks(self._new, self._size, self._workers)[::-1], []
            chunk = self._waiting.pop()
            self._running[self._start(chunk)] = chunk

    def _settle(self, future: Future, chunk: list) -> None:
        outcome = _outcome(future)
        if outcome == "ok":
            judged = future.result()
            self._results.update(zip(chunk, judged, strict=False))
            if len(judged) < len(chunk):
                self._waiting.append(chunk[len(judged) :])
            return
        if outcome == "spent":
            self._waiting.append(chunk)
            return
        self._failed(future, outcome == "broken")
        if len(chunk) > 1:
            self._waiting.extend([item] for item in reversed(chunk))
        elif outcome in ("error", "broken") and chunk[0] not in self._retried:
            self._retried.add(chunk[0])
            self._waiting.append(chunk)
        else:
            self._results[chunk[0]] = self._alone(chunk[0], "error" if outcome == "broken" else outcome)


def chunks(items: Sequence[Any], size: int, workers: int) -> list[list]:
    """Items in chunks of a size; with size 0 costly looking ones by themselves, first, the others in even chunks."""
    if size:
        return [list(items[i : i + size]) for i in range(0, len(items), size)]
    risky = [[x] for x in items if costly(" ".join(filter(None, x)) if isinstance(x, tuple) else x)]
    single = {id(chunk[0]) for chunk in risky}
    plain = [x for x in items if id(x) not in single]
    size = max(1, min(_CHUNK, math.ceil(len(plain) / (2 * workers))))
    return risky + [plain[i : i + size] for i in range(0, len(plain), size)]


def _outcome(future: Future) -> str:
    """Outcome of a task: ok, timeout, memory, spent, error (its worker died) or broken (the pool did)."""
    error = future.exception()
    if error is None:
        return "ok"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, MemoryError) or getattr(error, "exitcode", None) in _MEMORY_EXITS:
        return "memory"
    if getattr(error, "exitcode", None) == SPENT_EXIT:
        return "spent"
    return "broken" if isinstance(error, (BrokenProcessPool, RuntimeError)) else "error"
