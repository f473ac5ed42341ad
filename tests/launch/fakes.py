"""Stand-ins for a launcher and its ranks: small processes with the habits of the real ones."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

MARK = "a_rank_of_the_tests"

# A rank: notes its pid, waits, and on a signal "saves" for a while, notes that, and leaves with 128 + signal.
# argv: mark, folder, rank, how (`save`, `tied`: also tied as a real one, a code to exit with at once, or `stubborn`).
RANK = """
import os, signal, sys, time
_, folder, rank, how = sys.argv[1:]
def leave(code):
    with open(os.path.join(os.environ["LENRL_STATUS"], rank), "w") as f:
        f.write(str(code))
    os._exit(code)
def stop(number, _):
    with open(f"{folder}/signal{rank}", "a") as f:
        f.write(f"{number} ")
    if how in ("save", "tied"):
        time.sleep(0.5)
        open(f"{folder}/saved{rank}", "w").close()
        leave(128 + number)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
if how == "tied":
    from lenrl.launch.lifeline import tie
    tie(60)
with open(f"{folder}/rank{rank}", "w") as f:
    f.write(str(os.getpid()))
if how.isdigit():
    leave(int(how))
end = time.time() + 60
while time.time() < end:
    time.sleep(0.05)
"""

# A launcher: each rank in a session of its own, 1 for any failure, as torchrun does.
LAUNCHER = """
import subprocess, sys
rank, folder, *hows = sys.argv[1:]
ranks = [
    subprocess.Popen([sys.executable, "-c", rank, "MARK", folder, str(i), how], start_new_session=True)
    for i, how in enumerate(hows)
]
sys.exit(int(any([r.wait() for r in ranks])))
""".replace("MARK", MARK)


def launcher(folder: Path, *hows: str) -> list[str]:
    """The command of a launcher with one rank for each of `hows`."""
    return [sys.executable, "-c", LAUNCHER, RANK, str(folder), *hows]


def environment() -> dict[str, str]:
    """The variables by which the supervisor knows these ranks."""
    return {**os.environ, "LENRL_RANK_MARK": MARK}


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Until it holds, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def pids(folder: Path, count: int) -> list[int]:
    """The ranks' pids, once all have started."""
    files = [folder / f"rank{i}" for i in range(count)]
    wait_for(lambda: all(f.exists() and f.read_text() for f in files))
    return [int(f.read_text()) for f in files]


def gone(pid: int) -> bool:
    """No process of that id, or only its entry."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def descendants(pid: int) -> list[int]:
    """Every process below it."""
    return [p.pid for p in psutil.Process(pid).children(recursive=True)]


SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}
