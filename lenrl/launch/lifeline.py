"""The ties of a rank to its run: it holds the run's folder as long as it lives, and ends when its supervisor is gone.

A supervisor that is killed can end nobody. Without these its ranks would train on as orphans, while a second launch is
admitted into the folder that they write to.
"""

import fcntl
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from lenrl.streams import restore

LOCKS = "LENRL_LOCKS"  # environment variable: files that the launch has locked
SUPERVISOR = "LENRL_SUPERVISOR"  # environment variable: its process, as `identity` writes it
RANKS = "ranks.lock"  # beside a locked file; ranks share it
POLL_S = 1.0
_held: list[int] = []


def identity(pid: int) -> str:
    """A process, told apart from a later one with its number; empty if there is none."""
    try:
        return f"{pid} {psutil.Process(pid).create_time()}"
    except psutil.Error:
        return ""


def paths_of(handles: Sequence[int]) -> str:
    """Files of open descriptors, for LOCKS; without those of which the system does not tell."""
    found = []
    for handle in handles:
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{handle}"))
    return os.pathsep.join(found)


def tie(save_s: float) -> None:
    """Hold the folders of LOCKS for this process, and end with the process of SUPERVISOR, by SIGTERM.

    `save_s`: seconds after that for a checkpoint; then the process ends at once.
    """
    for path in filter(None, os.environ.get(LOCKS, "").split(os.pathsep)):
        with suppress(OSError):  # a folder that can't be written is found by whoever writes to it
            _held.append(os.open(Path(path).with_name(RANKS), os.O_RDWR | os.O_CREAT, 0o644))
            fcntl.flock(_held[-1], fcntl.LOCK_SH | fcntl.LOCK_NB)
    if supervisor := os.environ.get(SUPERVISOR):
        threading.Thread(target=_follow, args=(supervisor, save_s), daemon=True, name="lifeline").start()


def ranks_hold(folder: Path) -> bool:
    """Ranks of a run hold the folder: those that a killed supervisor left are not at their end yet."""
    try:
        handle = os.open(folder / RANKS, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _follow(supervisor: str, save_s: float) -> None:
    while identity(int(supervisor.split(maxsplit=1)[0])) == supervisor:
        time.sleep(POLL_S)
    restore()  # it read what this process prints
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(save_s)
    os._exit(1)
