"""Process between `lenrl train` and the launcher: signals reach every rank, and nothing outlives the run.

    python -m lenrl.launch.supervisor PROCESSES FIRST_RANK LOG -- COMMAND ...

A launcher can't be trusted with signals: the one for a single process dies and leaves its child alive, the
one for several exits 1 whatever they return, and starts each in a session of its own, so that no group holds
them all. The supervisor adopts whatever a dying launcher leaves (as a "child subreaper"), finds the ranks among
its descendants and signals those alone; it notices the death of `lenrl train` itself.

What the ranks print goes through it, to the terminal and to the run's log. Only the standard library and psutil: it
must start at once and stay small.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from lenrl.launch.lifeline import SUPERVISOR, identity
from lenrl.launch.outputs import Outputs
from lenrl.launch.worker import REFUSED, SAVE_S, STATUS, STOPPED

MARK = os.environ.get("LENRL_RANK_MARK", "lenrl.launch.worker")  # in the command line of every rank
POLL_S = 0.1
SETTLE_S = 0.5  # for what else is to say, once a rank has refused
STRAY_S = 45.0  # for the ranks that are left when the launcher or another rank has died: out within 60 s
KILLS = 3  # so many signals end everything at once
_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """Runs one launcher to the end of the last process under it."""

    def __init__(
        self, command: Sequence[str], processes: int, log: Path | None = None, first_rank: int = 0
    ) -> None:
        self.command = list(command)
        self.processes = processes
        self.log, self.first_rank = log, first_rank
        self.say: Callable[[str], None] = lambda message: None
        self.signals: list[int] = []  # in order of arrival
        self.sent: dict[int, int] = {}  # rank's pid: how many of them it got
        self.deadline: float | None = None
        self.launcher: subprocess.Popen[bytes] | None = None
        self.left = False  # the launcher died before its ranks, of which no one of us is the cause
        self.lost = False  # a rank has failed: the others have a deadline
        self.fallen: dict[str, tuple[float, str]] = {}  # rank: when (seconds since 1970) and how it failed

    def run(self) -> int:
        """The exit code of the run: 0, 2 (refused), 130 or 143 (stopped by a signal), 1."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda n, _: self.signals.append(n))
        _adopt_orphans()
        parent = os.getppid()
        status = tempfile.mkdtemp(prefix="lenrl-status-")
        try:
            with Outputs(Path(status), self.processes, self.log, self.first_rank) as outputs:
                self.say = outputs.say
                try:
                    return self._see_to_the_end(Path(status), parent)
                finally:
                    self._kill()
        finally:
            shutil.rmtree(status, ignore_errors=True)

    def _see_to_the_end(self, status: Path, parent: int) -> int:
        ties = {STATUS: str(status), SUPERVISOR: identity(os.getpid())}
        self.launcher = subprocess.Popen(self.command, env={**os.environ, **ties})
        while (code := self.launcher.poll()) is None or self._ranks():
            if parent and os.getppid() != parent:  # `lenrl train` was killed
                parent = 0
                self.signals.append(signal.SIGTERM)
            if self._refused(status):
                return REFUSED
            self._deliver()
            self._look_for_fallen(status)
            self._limit(launcher_gone=code is not None)
            time.sleep(POLL_S)
        self._look_for_fallen(status)
        self._report()
        return self._verdict(code, [int(f.read_text() or 1) for f in status.glob("[0-9]*")])

    def _refused(self, status: Path) -> bool:
        """End all if a rank has refused the recipe or its data: it has printed why, and others may wait for it."""
        if not any(f.read_text() == str(REFUSED) for f in status.glob("[0-9]*")):
            return False
        time.sleep(SETTLE_S)
        self._kill()
        return True

    def _look_for_fallen(self, status: Path) -> None:
        """Note ranks that have failed: with an exit code, or without one."""
        for file in status.glob("pid-*"):
            rank = file.name.removeprefix("pid-")
            pid, end = file.read_text(), status / rank
            if rank in self.fallen or not pid:
                continue
            gone = not _lives(int(pid))
            if end.exists():
                if end.read_text() not in ("", "0", str(REFUSED), *map(str, STOPPED)):
                    how = status / f"how-{rank}"
                    cause = how.read_text() if how.exists() else f"exit code {end.read_text()}"
                    self.fallen[rank] = end.stat().st_mtime, cause
            elif gone and len(self.signals) < KILLS:
                # Its peers notice within milliseconds, this loop a little later.
                died = "it died without a word: killed from outside (SIGKILL, often for lack of memory), crashed, "
                died += "or left by os._exit"
                self.fallen[rank] = time.time() - 10 * POLL_S, died

    def _report(self) -> None:
        if self.fallen:
            rank, (_, how) = min(self.fallen.items(), key=lambda item: item[1][0])
            # Of a run that hangs every rank names the one that stopped, whichever of them ends first.
            said = how if how.startswith("rank ") else f"rank {rank} of {self.processes} failed first: {how}"
            self.say(f"lenrl: {said}")

    def _ranks(self) -> list[psutil.Process]:
        """Living training processes, without the launcher and without what the ranks started themselves."""
        marked = {}
        for process in _descendants():
            with suppress(psutil.Error):
                if MARK in process.cmdline():
                    marked[process.pid] = process
        assert self.launcher is not None
        marked.pop(self.launcher.pid, None)
        return [p for p in marked.values() if _parent(p) not in marked]

    def _deliver(self) -> None:
        if not self.signals:
            return
        ranks = self._ranks()
        for rank in ranks:
            # A rank that came after the signals gets the last one only.
            first = self.sent.get(rank.pid, len(self.signals) - 1)
            for number in self.signals[first:]:
                try:
                    rank.send_signal(number)
                except psutil.NoSuchProcess:
                    break
            self.sent[rank.pid] = len(self.signals)
        if not ranks and not self.sent and self.launcher is not None and self.launcher.poll() is None:
            self.launcher.terminate()  # no rank has started yet

    def _limit(self, launcher_gone: bool) -> None:
        now = time.monotonic()
        if self.signals and self.deadline is None:
            self.deadline = now + SAVE_S
        if launcher_gone and not self.signals:
            self.left = True
            self.signals.append(signal.SIGTERM)
            self.deadline = now + STRAY_S
        if self.fallen and not self.lost:
            self.lost = True
            self.deadline = min(self.deadline or now + STRAY_S, now + STRAY_S)
        if len(self.signals) >= KILLS or (self.deadline is not None and now > self.deadline):
            self._kill()

    def _verdict(self, launcher: int, codes: list[int]) -> int:
        failed = [code for code in codes if code not in (0, *STOPPED)]
        # torchrun takes a rank's exit code 0 for success, whenever it comes.
        if launcher == 0 and not self.fallen:
            return 0
        if self.left:
            how = f"by signal {-launcher}" if launcher < 0 else f"with exit code {launcher}"
            self.say(f"lenrl: the launcher ended before its processes, {how}")
        if failed:
            return REFUSED if REFUSED in failed else 1
        everyone_stopped = len(codes) == self.processes and all(code in STOPPED for code in codes)
        if codes and everyone_stopped and not self.left:
            return codes[0]
        return 128 + self.signals[0] if self.signals and not self.left and launcher is not None else 1

    def _kill(self) -> None:
        for process in _descendants():
            with suppress(psutil.Error):
                process.kill()


def _descendants() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if _lives(p)]


def _lives(process: psutil.Process | int) -> bool:
    try:
        process = psutil.Process(process) if isinstance(process, int) else process
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _adopt_orphans() -> None:
    """Linux: orphaned descendants become children of this process and not of init."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


if __name__ == "__main__":
    processes, first_rank, log, _, *command = sys.argv[1:]
    sys.exit(Supervisor(command, int(processes), Path(log) if log else None, int(first_rank)).run())
