"""A thread next to the training: carries signals to the other processes, and ends a run that hangs.

Processes tell each other through the key-value store of the process group, which works while they sample,
verify or wait for each other, when no collective could.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from lenrl.training.hang import Standing, culprit, main_stack, place
from lenrl.training.signals import StopSignal

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

log = logging.getLogger("lenrl")

POLL_S = 0.5
OTHERS_S = 3.0  # for the other processes to write their stacks, once one has found that the run hangs
STUCK_S = 10.0  # beyond the limit, after which a process that runs no Python any more is ended from below
MUTE_S = 5.0  # without a pulse, after which a process is taken to run no Python any more
STOP_KEY, BEAT_KEY, PULSE_KEY, PLACE_KEY = "lenrl/stop", "lenrl/beat/{}", "lenrl/pulse/{}", "lenrl/place/{}"


class Watchdog:
    """Watches this process's `StopSignal` while training goes on.

    A run hangs if no process makes progress for `hang_timeout_s`: one that waits for a working process is fine.
    Then every process writes the stacks of its threads to `stacks/rankN.txt` of the run's folder, and all end with the
    name of the one that stopped first.

    Args:
        stop: signals and progress of this process.
        hang_timeout_s: seconds, `guard.hang_timeout_s`.
        store: the process group's key-value store, or None where there is one process.
        end: ends this process, whatever its main thread does.
    """

    def __init__(
        self,
        stop: StopSignal,
        run_dir: Path,
        *,
        rank: int,
        processes: int,
        hang_timeout_s: float,
        store: Store | None = None,
        end: Callable[[int, str], None] | None = None,
    ) -> None:
        self.stop = stop
        self.path = run_dir / "stacks" / f"rank{rank}.txt"
        self.rank = rank
        self.hang_timeout_s = hang_timeout_s
        self.store = store
        self.end = end or (lambda code, _: os._exit(code))
        self.seen: dict[int, tuple[str, float]] = dict.fromkeys(range(processes), ("", time.monotonic()))
        # Of the other processes: the last one, and when it came
        self.pulses: dict[int, tuple[str, float]] = {}
        self._polls = 0
        self._relayed = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch")

    def __enter__(self) -> Watchdog:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stacks: TextIO | None = self.path.open("w")
        except OSError as fault:  # a full disk must not keep a run from starting
            log.warning(
                "%s cannot be written (%s): stacks of a run that hangs go to standard error", self.path, fault
            )
            self._stacks = None
        now = time.monotonic()
        self.seen = dict.fromkeys(self.seen, ("", now))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(2 * POLL_S)
        faulthandler.cancel_dump_traceback_later()
        if self._stacks is not None:
            self._stacks.close()
            with suppress(OSError):  # another process may empty the folder and remove it meanwhile
                if not self.path.stat().st_size:
                    self.path.unlink()
                    self.path.parent.rmdir()

    def _run(self) -> None:
        poll_s, stuck_s = min(POLL_S, self.hang_timeout_s / 10), self.hang_timeout_s + STUCK_S
        while not self._over.wait(poll_s):
            # A process that holds the interpreter lock for ever runs no thread: this timer needs none.
            faulthandler.dump_traceback_later(stuck_s, exit=True, file=self._stacks or sys.stderr)
            self._look(self._reports())
            idle_s = time.monotonic() - max(when for _, when in self.seen.values())
            if idle_s > self.hang_timeout_s:
                self._give_up()

    def _reports(self) -> dict[int, str]:
        """Every process's last report of itself; relays a stop on the way."""
        own = json.dumps([self.stop.beats, self.stop.doing])
        reports = {self.rank: own}
        if self.store is None:
            return reports
        try:
            self._polls += 1
            self.store.set(BEAT_KEY.format(self.rank), own)
            self.store.set(PULSE_KEY.format(self.rank), str(self._polls))
            if self.stop.number and not self._relayed:
                self._relayed = True
                self.store.set(STOP_KEY, str(self.stop.number))
            elif not self.stop.number and self.store.check([STOP_KEY]):
                # As if it had come from outside: a signal interrupts what the main thread waits for.
                signal.pthread_kill(threading.main_thread().ident or 0, int(self.store.get(STOP_KEY)))
            for rank in self.seen:
                key, pulse = BEAT_KEY.format(rank), PULSE_KEY.format(rank)
                if rank != self.rank and self.store.check([key]):
                    reports[rank] = self.store.get(key).decode()
                if rank != self.rank and self.store.check([pulse]):
                    self._feel(rank, self.store.get(pulse).decode())
        except (RuntimeError, OSError):  # the process that holds the store has ended; this one soon will
            self.store = None
        return reports

    def _feel(self, rank: int, pulse: str) -> None:
        if self.pulses.get(rank, ("", 0.0))[0] != pulse:
            self.pulses[rank] = (pulse, time.monotonic())

    def _look(self, reports: dict[int, str]) -> None:
        now = time.monotonic()
        for rank, report in reports.items():
            if report != self.seen[rank][0]:
                self.seen[rank] = (report, now)

    def _give_up(self) -> None:
        now = time.monotonic()
        lines = [f"no process has made progress for {self.hang_timeout_s:g} s (guard.hang_timeout_s):"]
        for rank, (report, when) in self.seen.items():
            lines.append(f"rank {rank}: {_doing(report) or 'nothing heard'}, for {now - when:.0f} s")
        message = "; ".join(lines).replace(":;", ":")
        try:
            if self._stacks is not None:
                # Of more than a hundred threads faulthandler leaves out the oldest, and with it the one that trains.
                self._stacks.write(f"{message}\n\nMain thread (most recent call last):\n{main_stack()}\n")
                self._stacks.flush()
            faulthandler.dump_traceback(file=self._stacks or sys.stderr, all_threads=True)
        except OSError:
            pass
        log.error("%s. Its stack is in %s; the last checkpoint is intact.", message, self.path)
        own = place()
        with suppress(RuntimeError, OSError):
            if self.store is not None:
                self.store.set(PLACE_KEY.format(self.rank), json.dumps(own))
        time.sleep(min(OTHERS_S, self.hang_timeout_s))
        self.end(1, self._sentence(self._standings(now, own)))

    def _standings(self, now: float, own: tuple[str, bool]) -> dict[int, Standing]:
        """Every process, as far as this one knows; `own`: its place."""
        standings = {}
        for rank, (report, when) in self.seen.items():
            where, waits = own if rank == self.rank else ("", False)
            with suppress(RuntimeError, OSError):
                if self.store is not None and self.store.check([PLACE_KEY.format(rank)]):
                    where, waits = json.loads(self.store.get(PLACE_KEY.format(rank)))
            felt = self.pulses.get(rank, ("", when))[1]
            mute = rank != self.rank and self.store is not None and now - felt > MUTE_S and not where
            standings[rank] = Standing(_doing(report), now - when, not mute, where, waits)
        return standings

    def _sentence(self, standings: dict[int, Standing]) -> str:
        """The end of the run in words, the same on every process."""
        rank = culprit(standings)
        standing = standings[rank]
        doing = standing.doing or "before anything was heard of it"
        how = f"in {standing.where}" if standing.where else "in code that lets no other Python run"
        stack = self.path.with_name(f"rank{rank}.txt")
        return f"rank {rank} of {len(standings)} stopped answering: {doing}, {how}; its stack is in {stack}"


def _doing(report: str) -> str:
    return json.loads(report)[1] if report else ""


def store_of(processes: int) -> Store | None:
    """A connection of one's own to the process group's store; None for one process or a group without one."""
    if processes == 1:
        return None
    from torch.distributed.distributed_c10d import _get_default_store

    store: Any = _get_default_store()  # torch's stubs have no `clone`
    try:
        return store.clone()
    except (RuntimeError, ValueError, NotImplementedError) as fault:
        log.warning(
            "no store to tell the other processes of a signal (%s): send signals to all of them", fault
        )
        return None
