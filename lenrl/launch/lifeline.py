"""The ties of a rank to its run: it holds the run's folder as long as it lives, and ends when its supervisor is gone.

A supervisor that is killed can end nobody. Without these its ranks would train on as orphans, while a second launch is
admitted into the folder that they write to.
"""

import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from lenrl.streams import restore

LOCKS = "LENRL_LOCKS"  # environment variable: files that the launch has locked, a JSON list
SUPERVISOR = "LENRL_SUPERVISOR"  # environment variable: its process, as `identity` writes it
RANKS = "ranks.lock"  # beside a locked file; ranks share it
POLL_S = 1.0
_held: list[int] = []


def identity(pid: int) -> str:
    """A process, told apart from a later one with its number; empty if there is none.

    It holds when the system's clock is set: Linux counts a process's start in ticks since the machine's own, the
    22nd field of its `stat`, which psutil turns into a time of day.
    """
    try:
        if sys.platform != "linux":
            return f"{pid} {psutil.Process(pid).create_time()}"
        from_the_third = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return f"{pid} {from_the_third[22 - 3].decode()}"
    except (OSError, psutil.Error):
        return ""


def paths_of(handles: Sequence[int]) -> str:
    """Files of open descriptors, for LOCKS; without those of which the system does not tell."""
    found = []
    for handle in handles:
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{handle}"))
    return json.dumps(found)


def tie(save_s: float) -> None:
    """Hold the folders of LOCKS for this process, and end with the process of SUPERVISOR, by SIGTERM.

    `save_s`: seconds after that for a checkpoint; then the process ends at once.
    """
    for path in json.loads(os.environ.get(LOCKS) or "[]"):
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
