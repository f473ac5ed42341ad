"""Standard output and error of a rank, led through a pipe of its supervisor. Standard library only."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

TERMINAL = "LENRL_TERMINAL"  # environment variable: descriptor of the terminal that standard error was
_before: dict[int, int] = {}  # descriptor: a copy of what it was


def divert(pipe: Path) -> None:
    """Lead both into a named pipe that another process reads; without a reader they stay what they are.

    Also what C code writes, and what is written in the process's last moment.
    """
    try:
        into = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)  # fails where nobody reads
    except OSError:
        return
    os.set_blocking(into, True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        number = stream.fileno()
        _before[number] = os.dup(number)
        if number == 2 and os.isatty(number):
            os.environ[TERMINAL] = str(_before[number])
        os.dup2(into, number)
    os.close(into)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def restore() -> None:
    """Undo `divert`: who read the pipe is gone, and writing to it would fail."""
    for number, before in _before.items():
        with suppress(OSError):
            os.dup2(before, number)


def terminal() -> TextIO | None:
    """The terminal behind standard error, also a diverted one; None: there is none."""
    if sys.stderr.isatty():
        return sys.stderr
    number = os.environ.get(TERMINAL, "")
    if not number.isdecimal() or not _before:  # a child of a rank inherits the variable, not the descriptor
        return None
    return os.fdopen(int(number), "w", closefd=False)
