"""`ledger.jsonl`: events of all trials of a sweep, one line each, never rewritten.

Several processes append, on several machines too. Only the standard library is used: each trial's process writes it.
"""

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lenrl.files import read_json_lines

NAME = "ledger.jsonl"
PLANNED, RUNNING = "planned", "running"
FINISHED, STOPPED = "finished", "stopped"  # stopped: early
CRASHED, INTERRUPTED = "crashed", "interrupted"
MOST_TRIALS = 10**6
DONE = (FINISHED, STOPPED)  # a rerun leaves these alone


@dataclass(frozen=True)
class Trial:
    """One trial after all its events; `seconds` are those of all its attempts."""

    trial: int
    overrides: tuple[str, ...]
    status: str
    run: str  # folder, below the sweep's
    accuracy: float | None = None
    tokens: float | None = None
    measured_on: str | None = None  # dev | test: which problems accuracy and tokens are of
    seconds: float = 0.0
    exit_code: int | None = None
    reason: str | None = None

    @property
    def done(self) -> bool:
        return self.status in DONE


def append(sweep: Path, trial: int, status: str, overrides: list[str], **more: Any) -> None:
    """Add one event, whole or not at all, and on the disk when this returns.

    Args:
        overrides: what it sets beyond the sweep's own settings.
        more: other fields of `Trial`; `seconds` are those of this attempt.
    """
    event = {"trial": trial, "overrides": overrides, "status": status, "run": run_name(trial)}
    event |= dict.fromkeys(("accuracy", "tokens", "seconds")) | more
    event["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = json.dumps(event, allow_nan=False).encode() + b"\n"
    file = os.open(sweep / NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":  # a line was cut by a full disk or a power failure
            line = b"\n" + line
        os.write(file, line)
        os.fsync(file)
    finally:
        os.close(file)


def read(sweep: Path) -> dict[int, Trial]:
    """The trials that have events, by number; a cut line is left out."""
    trials: dict[int, Trial] = {}
    for event in read_json_lines(sweep / NAME):
        with suppress(KeyError, TypeError):
            number, texts = event["trial"], [event["run"], *event["overrides"]]
            if type(number) is not int or not 0 <= number < MOST_TRIALS or event["run"] != run_name(number):
                continue  # no line of ours: a trial's folder is inside the sweep's, and named by its number
            if not all(isinstance(text, str) for text in texts):
                continue
            before = trials[number].seconds if number in trials else 0.0
            known = {field.name: event[field.name] for field in fields(Trial) if field.name in event}
            sums = {"overrides": tuple(event["overrides"]), "seconds": before + (event["seconds"] or 0.0)}
            trials[number] = Trial(**known | sums)
    return dict(sorted(trials.items()))


def run_name(trial: int) -> str:
    """The trial's folder below the sweep's."""
    return f"trial-{trial:03d}"
