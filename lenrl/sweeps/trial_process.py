"""One trial of a sweep: starts it, passes signals on, and writes its end to the ledger.

    python -m lenrl.sweeps.trial_process SWEEP TRIAL OVERRIDES(json) PARENT -- COMMAND ...

A process between the sweep and `lenrl train`, so that a sweep that is killed leaves neither an orphan nor a trial
whose end nobody has noted: this process sees that its parent has died, ends the trial as SIGTERM does (the trial
saves, and a rerun continues it), and notes `interrupted`. Only the standard library: each trial
has one.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lenrl.sweeps import ledger
from lenrl.sweeps.measured import figures

POLL_S = 0.1
KILLS = 3  # so many signals end a trial at once, as they do for `lenrl train` ...
KILL_S = 10.0  # ... and where that does not listen, it is killed so long after
BY_SIGNAL = (130, 143, -signal.SIGINT, -signal.SIGTERM)  # exit codes
_PR_SET_PDEATHSIG = 1


class TrialProcess:
    """Runs one trial to its end."""

    def __init__(self, sweep: Path, trial: int, overrides: list[str], parent: int) -> None:
        self.sweep = sweep
        self.trial = trial
        self.overrides = overrides
        self.parent = parent
        self.signals: list[int] = []  # in order of arrival

    def run(self, command: Sequence[str]) -> int:
        """The trial's exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda n, _: self.signals.append(n))
        began = time.monotonic()
        ledger.append(self.sweep, self.trial, ledger.RUNNING, self.overrides)
        # preexec_fn is safe in a process of one thread.
        child = subprocess.Popen(command, start_new_session=True, preexec_fn=_end_with_parent)  # noqa: PLW1509
        code = self._wait(child)
        status = ledger.FINISHED if code == 0 else ledger.INTERRUPTED if code in BY_SIGNAL else ledger.CRASHED
        if status == ledger.CRASHED and len(self.signals) >= KILLS:
            status = ledger.INTERRUPTED
        ledger.append(
            self.sweep,
            self.trial,
            status,
            self.overrides,
            **figures(self.sweep / ledger.run_name(self.trial)),
            seconds=round(time.monotonic() - began, 3),
            exit_code=code,
        )
        return code if code >= 0 else 128 - code

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        sent, orphaned, deadline = 0, False, float("inf")
        while (code := child.poll()) is None:
            if not orphaned and os.getppid() != self.parent:
                orphaned = True
                self.signals.append(signal.SIGTERM)
            for number in self.signals[sent:]:
                child.send_signal(number)
                sent += 1
            if sent >= KILLS:
                deadline = min(deadline, time.monotonic() + KILL_S)
            if time.monotonic() > deadline:
                child.kill()
            time.sleep(POLL_S)
        return code


def _end_with_parent() -> None:
    """Linux: a killed trial process takes its trial along."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


if __name__ == "__main__":
    folder, trial, overrides, parent, _, *command = sys.argv[1:]
    sys.exit(TrialProcess(Path(folder), int(trial), json.loads(overrides), int(parent)).run(command))
