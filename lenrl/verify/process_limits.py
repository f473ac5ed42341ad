"""Life of a worker process, and the memory it may use. Standard library only."""

import ctypes
import os
import resource
import signal
import sys
import threading
import time

MIB = 2**20
SPENT_EXIT = 77  # of a worker that is worn out and has judged nothing of its chunk: a fresh one gets it


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process with the fork server, and watch the pool's owner.

    The server ends when its owner's end of a pipe closes. Each worker inherits that end: one that hangs in a C
    call would keep the server, and so itself, alive for ever, unless it gives the end up.
    """
    server = sys.modules.get("multiprocessing.forkserver")
    pipe = getattr(getattr(server, "_forkserver", None), "_forkserver_alive_fd", None)
    if pipe is not None:
        os.close(pipe)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    def watch() -> None:
        while _alive(parent):
            time.sleep(1.0)
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def limit_memory(mib: int) -> int:
    """Limit what this process may add to its present size; returns the ceiling in bytes of address space."""
    ceiling = address_space() + mib * MIB
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, hard))
    return ceiling


def address_space() -> int:
    """Bytes of virtual memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
