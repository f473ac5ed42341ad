"""One training process: `lenrl.run_process`, its signals, and how it ended where the supervisor finds that.

Launchers turn every failure into 1; the supervisor needs to know whether it was a refusal (2) or a signal (143), and
which process was the first to fail.
"""

import ctypes
import faulthandler
import hashlib
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from lenrl.launch.lifeline import tie
from lenrl.launch.outputs import pipe_of
from lenrl.streams import divert

SAVE_S = float(os.environ.get("LENRL_SAVE_S", "600"))  # for a checkpoint after a signal
REFUSED = 2  # exit code
HELD_S = 10.0  # for which a rank that refused waits for the supervisor to end all of them
STOPPED = (130, 143)  # exit codes of a rank that a signal has stopped
STOPPED_EXIT_S = 5.0  # of a rank that was stopped, for what libraries do at exit (a tracker's upload)
LONGEST_EXIT_S = 30.0

STATUS = "LENRL_STATUS"  # environment variable: a folder, files named by a process's number


def main() -> int:
    if folder := os.environ.get(STATUS):
        divert(pipe_of(Path(folder), os.environ.get("LOCAL_RANK", "0")))
    from lenrl.training.signals import StopSignal

    stop = StopSignal()
    stop.install()
    faulthandler.enable()
    _end_with_launcher()
    tie(SAVE_S)
    _note("pid", str(os.getpid()))
    code, how = 1, ""
    try:
        from lenrl import run_process

        code = run_process.main(sys.argv[1:], say, stop, _end)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code == 0:  # nothing of ours leaves like that: the others would wait for this rank, or be blamed
            at = traceback.extract_tb(end.__traceback__)[-1]
            code, how = 1, f"it left with exit code 0 in {at.name} ({at.filename}, line {at.lineno})"
            return code
        raise
    except BaseException as fault:
        how = f"{type(fault).__name__}: {fault}"
        _print_redacted()
    finally:
        _last_words(code, how)
        if code == REFUSED and STATUS in os.environ:
            time.sleep(HELD_S)
        threading.Thread(target=_cut_short, args=(code,), daemon=True).start()
    return code


def say(message: str) -> None:
    """Print an error, unless another process of this machine has printed the same."""
    if folder := os.environ.get(STATUS):
        name = "said-" + hashlib.blake2b(message.encode(), digest_size=8).hexdigest()
        try:
            Path(folder, name).touch(exist_ok=False)
        except FileExistsError:
            return
        except OSError:  # no place to look it up: better twice than never
            pass
    print(message, file=sys.stderr, flush=True)


def _end(code: int, how: str) -> None:
    """Leave at once, whatever the main thread does."""
    _last_words(code, how)
    os._exit(code)


def _cut_short(code: int) -> None:
    time.sleep(STOPPED_EXIT_S if code in STOPPED else LONGEST_EXIT_S)
    os._exit(code)


def _last_words(code: int, how: str) -> None:
    from lenrl.redact import printable

    if how:
        _note("how", printable(how, 500))
    _note("", str(code))


def _note(kind: str, text: str) -> None:
    """A file `RANK` or `kind-RANK` for the supervisor, if there is one."""
    if folder := os.environ.get(STATUS):
        rank = os.environ.get("RANK", "0")
        try:
            Path(folder, f"{kind}-{rank}" if kind else rank).write_text(text)
        except OSError as fault:
            print(f"lenrl: cannot tell the supervisor of this process's end: {fault}", file=sys.stderr)


def _print_redacted() -> None:
    from lenrl.redact import printable

    rank = f"rank {os.environ['RANK']}: " if os.environ.get("WORLD_SIZE", "1") != "1" else ""
    print(rank + printable(traceback.format_exc()), file=sys.stderr, flush=True)


def _end_with_launcher() -> None:
    """Linux: get SIGTERM when the launcher dies. The one for a single process does not pass signals on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    sys.exit(main())
