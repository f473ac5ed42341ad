"""Functions that a model wrote, called in a process of their own where they can do no harm.

Two isolations. `namespaces` (Linux, where users may make them; no root needed): no network, no file but Python's
libraries and an empty folder in memory, no process of the machine in sight, no right to get more. `audit`, elsewhere:
an audit hook ends the process at the first file, socket, process or C library that it reaches for. Python says that
such a hook stops no determined attacker. Limits on time, memory, processes and files hold in both. Neither guards
against a hole in the kernel.
"""

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, Field

from lenrl.options import Options
from lenrl.verify.jail import TIMED_OUT

Isolation = Literal["namespaces", "audit"]
CHILD = Path(__file__).with_name("jail.py")
MOST_BYTES = 2**20  # of all values
START_S = 10.0  # before the code runs


class SandboxLimits(Options):
    """Limits of what the code of one completion may use."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seconds: float = Field(default=2.0, gt=0, le=10, description="by the clock, of all calls together")
    memory_mib: int = Field(default=256, ge=64, description="address space of each process")
    processes: int = Field(
        default=4, ge=1, le=64, description="processes and threads at once, the first one included"
    )
    file_mib: int = Field(default=8, ge=1, description="MiB of a file, and of all files together")
    open_files: int = Field(default=32, ge=8, description="open files of a process")


class Run(NamedTuple):
    """Values that came back from the code.

    Attributes:
        values: an entry a call: `[value]`, or None where it raised, gave no JSON value or was not reached.
        timed_out: the time was over before the last call returned.
    """

    values: list[list[Any] | None]
    timed_out: bool


class SandboxFault(RuntimeError):
    """The sandbox could not be set up; no code has run."""


@functools.cache
def strongest() -> Isolation:
    """The stronger isolation that this machine permits, tried once."""
    try:
        return "namespaces" if run("", []) else "audit"
    except SandboxFault:
        return "audit"


def run(
    code: str,
    calls: Sequence[tuple[str, Sequence[Any]]],
    limits: SandboxLimits | None = None,
    isolation: Isolation = "namespaces",
) -> Run:
    """Run code that defines functions, then call them one after the other.

    The code's process knows the calls, never the values that are expected: compare those with what comes back. What
    it prints goes nowhere.

    Args:
        code: Python, hostile.
        calls: name of a function and its positional arguments, JSON values.
        limits: of all calls together; default: those of `SandboxLimits`.
        isolation: see the module.

    Raises:
        SandboxFault: the isolation is not to be had here.
    """
    limits = limits or SandboxLimits()
    order = json.dumps(
        dict(code=code, calls=calls, isolation=isolation, limits=limits.model_dump(), parent=os.getpid())
    ).encode()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={},
    )
    assert process.stdin is not None and process.stdout is not None
    late = threading.Timer(START_S + limits.seconds, process.kill)
    late.start()
    try:
        with suppress(BrokenPipeError):  # it could not start
            process.stdin.write(order)
            process.stdin.close()
        lines = process.stdout.read(MOST_BYTES).split(b"\n")
    finally:
        process.stdout.close()  # what goes on writing gets an error, and ends in time
        status = process.wait()
        late.cancel()
    if lines[0] != b"true":
        raise SandboxFault(lines[0].decode("utf-8", "replace")[:300] or f"exit status {status}")
    values = [_value(line) for line in lines[1:-1][: len(calls)]]
    return Run(values + [None] * (len(calls) - len(values)), status == TIMED_OUT)


def _value(line: bytes) -> list[Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) and len(value) == 1 else None
