"""Output of all ranks of a machine: passed on as it comes, and kept in `train.log` with time and rank."""

import os
import selectors
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from lenrl.redact import printable

LINE_CHARS = 4_000  # of a line in the log
CHUNK = 65_536  # bytes


def pipe_of(folder: Path, local_rank: str) -> Path:
    """The named pipe of a rank, in the folder of the ranks' status."""
    return folder / f"out-{local_rank}"


class Outputs:
    """Reads the pipes of a machine's ranks in a thread, from `__enter__` until `__exit__` has read all of them.

    Args:
        folder: where the pipes are made.
        log: the file that gets their lines; None: it is only passed on.
        first: global number of the machine's first rank.
    """

    def __init__(self, folder: Path, ranks: int, log: Path | None, first: int = 0) -> None:
        self.log = log
        self._names = {pipe_of(folder, str(rank)): f"rank {first + rank}" for rank in range(ranks)}
        self._selector = selectors.DefaultSelector()
        self._begun: dict[str, bytes] = {}  # by name: the beginning of a line
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, daemon=True, name="outputs")

    def __enter__(self) -> "Outputs":
        for path, name in self._names.items():
            os.mkfifo(path)
            # Open for writing too, by this process itself: the pipe does not end with the rank that writes to it.
            self._selector.register(os.open(path, os.O_RDWR | os.O_NONBLOCK), selectors.EVENT_READ, name)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()

    def say(self, message: str) -> None:
        """A line of the supervisor's own."""
        print(message, file=sys.stderr, flush=True)
        self._keep("supervisor", message)

    def _read(self) -> None:
        while True:
            last = self._over.is_set()
            ready = self._selector.select(0 if last else 0.2)
            for key, _ in ready:
                with suppress(BlockingIOError):
                    self._take(key.data, os.read(key.fd, CHUNK))
            if last and not ready:
                break
        for name, rest in self._begun.items():
            if rest:
                self._keep(name, rest.decode(errors="replace"))

    def _take(self, name: str, chunk: bytes) -> None:
        with suppress(OSError):  # the terminal is gone
            sys.stderr.buffer.write(chunk)
            sys.stderr.buffer.flush()
        *lines, rest = (self._begun.get(name, b"") + chunk).split(b"\n")
        self._begun[name] = rest[-CHUNK:]
        for line in lines:
            self._keep(name, line.decode(errors="replace"))

    def _keep(self, name: str, line: str) -> None:
        """Append a line; of one that a progress bar has redrawn, the last state."""
        line = printable(line.rstrip("\r").rpartition("\r")[2], LINE_CHARS)
        if self.log is None or not line.strip():
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            with self._lock, self.log.open("ab", buffering=0) as out:
                out.write(f"{stamp} {name}: {line}\n".encode())
        except OSError as fault:
            log, self.log = self.log, None
            message = f"lenrl: {log} can't be written ({fault.strerror}); training goes on without it"
            print(message, file=sys.stderr, flush=True)
