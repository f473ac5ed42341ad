"""A net under lenrl's own comparisons: while a claim is judged, Python in this worker runs no text and starts nothing.

An audit hook sees what the interpreter is about to do, whoever asks for it, and refuses it by an exception. Text that
names nothing but sympy's numbers may run: its LaTeX parser makes each of them so. If a library does more than that, the
answer is wrong and the worker is replaced. Standard library only.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

STARTS = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "pty.spawn",
    "subprocess.Popen", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "ctypes.dlopen",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.putenv",
    "shutil.rmtree", "shutil.move", "shutil.copyfile", "pickle.find_class", "marshal.loads", "code.__new__",
    "webbrowser.open", "urllib.Request",
)  # fmt: skip
NUMBERS = frozenset({"sympy", "Integer", "Float", "Rational", "Symbol"})
_CODE_OF_POLYNOMIALS = re.compile(r"monomial_[a-z]+|min|max")  # sympy generates it, from no one's text
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_IMPORTS = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")

_state = {"installed": False, "armed": False, "refused": ""}


class Refused(Exception):
    """A library was about to run text of a claim, or to reach out of the worker."""


def install() -> None:
    """Put the net up in this process, for good; it acts only inside `judged`."""
    if not _state["installed"]:
        sys.addaudithook(_look)
        _state["installed"] = True


@contextmanager
def judged() -> Iterator[None]:
    """A claim's judgement; where the net is not installed, nothing happens.

    Raises:
        Refused: something was refused inside, even where a scorer swallowed the exception.
    """
    _state["armed"] = True
    try:
        yield
    finally:
        _state["armed"] = False
    if _state["refused"]:
        raise Refused(_state["refused"])


@contextmanager
def of_no_claim() -> Iterator[None]:
    """A library's work on nothing that a claim says, as making a problem by its number: the net is down inside."""
    armed, _state["armed"] = _state["armed"], False
    try:
        yield
    finally:
        _state["armed"] = armed


def refused() -> bool:
    """Something was refused in this process: it should judge no further claim."""
    return bool(_state["refused"])


def _look(event: str, args: tuple[Any, ...]) -> None:
    if not _state["armed"] or not (event in STARTS or event in ("exec", "open")):
        return
    if event == "exec" and (not args[0].co_filename.startswith("<") or _names_numbers(args[0])):
        return
    if event == "open" and not (isinstance(args[2], int) and args[2] & _WRITES):
        return
    if _importing():
        return
    _state["refused"] = event
    raise Refused(event)


def _names_numbers(code: CodeType) -> bool:
    """No name in the code, or in a function inside it, that could do anything."""
    return all(name in NUMBERS or _CODE_OF_POLYNOMIALS.fullmatch(name) for name in code.co_names) and all(
        _names_numbers(inner) for inner in code.co_consts if isinstance(inner, CodeType)
    )


def _importing() -> bool:
    """A module is being loaded: its own code runs, which no claim wrote."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename in _IMPORTS:
            return True
        frame = frame.f_back
    return False
