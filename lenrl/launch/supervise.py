"""Run a command under the supervisor and pass signals on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lenrl.launch.lifeline import LOCKS, paths_of


def supervise(
    command: Sequence[str],
    processes: int = 1,
    *,
    hold: Sequence[int] = (),
    log: Path | None = None,
    first_rank: int = 0,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run a launcher to the end of its last process.

    SIGINT and SIGTERM go to every rank, which then save and leave; a third signal kills.

    Args:
        processes: ranks that it starts on this machine.
        hold: file descriptors to keep open as long as a rank lives (the run folder's lock).
        log: a file that gets all that the ranks print, a line with time and rank each.
        first_rank: number of the first of them among those of all machines.
        env: the environment; default: this process's.

    Returns:
        0, 2 (the recipe was refused by a rank), 130 or 143 (stopped by a signal), else 1.
    """
    line = [sys.executable, "-P", "-m", "lenrl.launch.supervisor"]
    line += [str(processes), str(first_rank), str(log or ""), "--", *command]
    with _forwarding() as target:
        # A session of its own: Ctrl-C in a terminal reaches this process only, which passes it on once.
        # PYTHONSAFEPATH: `-m` would put the working directory before the libraries, here and in all ranks.
        env = {**(os.environ if env is None else env), LOCKS: paths_of(hold), "PYTHONSAFEPATH": "1"}
        supervisor = subprocess.Popen(line, start_new_session=True, pass_fds=tuple(hold), env=env)
        target(supervisor)
        code = supervisor.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _forwarding() -> Iterator:
    """Pass SIGINT and SIGTERM on to a child, those included that come before it exists."""
    child: list[subprocess.Popen] = []
    early: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        if child:
            child[0].send_signal(number)
        else:
            early.append(number)

    def target(process: subprocess.Popen) -> None:
        child.append(process)
        for number in early:
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield target
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
