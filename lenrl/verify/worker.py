"""What runs in a worker process: judge chunks of (answer, gold) pairs under CPU-time and memory limits.

Imports the standard library only until it is set up; never torch. Results are plain tuples.
A worker dies with its parent, ignores Ctrl-C, and is killed from outside when a single C call hogs it.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from lenrl.verify.limits import Limits, TooBig
from lenrl.verify.process_limits import MIB, address_space, end_with_parent, limit_memory

ModelResults = Literal["ok", "timeout", "memory", "limit", "error", "abstained"]
Result = tuple[bool | None, bool, ModelResults]  # correct, formatted, outcome
Pair = tuple[str | None, str]  # answer, gold

_limits = Limits()
_kind = "math"
_ceiling = 0  # bytes of address space; 0: none set
_golds: dict[str, bool] = {}
_armed: list[bool] = []  # not empty while a claim's CPU time runs


class OutOfTime(BaseException):
    """The CPU time of one claim is used up. Not an Exception: sympy swallows those."""


def set_up(parent: int, kind: str, memory_mib: int, limits: dict[str, int]) -> None:
    """Worker initializer: signals, death with the parent, warm imports, memory limit (in this order)."""
    global _limits, _kind, _ceiling  # noqa: PLW0603
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a Python handler would wait for a long C call
    signal.signal(signal.SIGPROF, _out_of_time)
    end_with_parent(parent)
    sys.setrecursionlimit(3000)
    _limits, _kind = Limits(**limits), kind
    warm_up(kind)
    if memory_mib:
        _ceiling = limit_memory(memory_mib)


def judge_chunk(pairs: Sequence[Pair], timeout_s: float) -> list[Result]:
    """Results for the first pairs, in order; fewer than given once half the time, or a limit, is used up.

    The caller sends the rest again. `timeout_s` counts CPU seconds, for each pair by itself.
    """
    if _ceiling and address_space() > _ceiling - 64 * MIB:
        os._exit(77)  # bloated by earlier claims: a fresh worker gets the chunk
    started, results = time.monotonic(), []
    for pair in pairs:
        results.append(judge(*pair, timeout_s))
        if results[-1][2] in ("timeout", "memory") or time.monotonic() - started > timeout_s / 2:
            break
    return results


def judge(answer: str | None, gold: str, timeout_s: float) -> Result:
    """One answer against one gold answer. Limits that the gold overruns make the verdict unknown."""
    if _kind == "gym":
        from lenrl.verify.kinds import score

        if not gold_readable(gold, timeout_s):
            return None, False, "abstained"
        return _guarded(lambda: score(answer, gold), timeout_s)
    from lenrl.verify.math.compare import compare
    from lenrl.verify.math.normalize import key

    if not gold_readable(gold, timeout_s):
        same = answer is not None and len(answer) <= _limits.max_answer_chars and key(answer) == key(gold)
        return (True, False, "ok") if same else (None, False, "abstained")
    if answer is None:
        return False, False, "ok"
    return _guarded(lambda: compare(answer, gold, _limits), timeout_s)


def gold_readable(gold: str, timeout_s: float) -> bool:
    """Whether a gold answer parses and equals itself within the limits; remembered."""
    if gold not in _golds:
        if len(_golds) > 20_000:
            _golds.clear()
        if _kind == "gym":
            from lenrl.verify.kinds import known

            def check() -> tuple[bool, bool]:
                return known(gold), True
        else:
            from lenrl.verify.math.compare import readable

            def check() -> tuple[bool, bool]:
                return readable(gold, _limits), True

        _golds[gold] = _guarded(check, timeout_s)[0] is True
    return _golds[gold]


def judge_golds(golds: Sequence[str], timeout_s: float) -> list[bool]:
    """Like `judge_chunk`, for gold answers alone."""
    started, results = time.monotonic(), []
    for gold in golds:
        results.append(gold_readable(gold, timeout_s))
        if time.monotonic() - started > timeout_s / 2:
            break
    return results


def _guarded(decide: Callable[[], tuple[bool | None, bool]], timeout_s: float) -> Result:
    try:
        with _cpu_time(timeout_s):
            correct, formatted = decide()
        return correct, formatted, "abstained" if correct is None else "ok"
    except OutOfTime:
        _drop_caches()
        return False, False, "timeout"
    except MemoryError:
        _drop_caches()
        return False, False, "memory"
    except (TooBig, RecursionError):
        return False, False, "limit"
    except Exception:
        return None, False, "error"


@contextmanager
def _cpu_time(seconds: float) -> Any:
    _armed.append(True)
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds, 0.1)  # repeats: a bare `except` may swallow the first
        yield
    finally:
        _armed.clear()  # first: a signal between here and the next line must not raise
        signal.setitimer(signal.ITIMER_PROF, 0)


def _out_of_time(signum: int, frame: Any) -> None:
    if _armed:
        raise OutOfTime


def _drop_caches() -> None:
    if "sympy" in sys.modules:
        from lenrl.verify.math import algebra

        algebra.parse.cache_clear()
        from sympy.core.cache import clear_cache

        clear_cache()
    gc.collect()


def warm_up(kind: str) -> None:
    """Import and exercise what judging needs, before the memory limit and outside any claim's time."""
    if kind == "exact":
        return
    if kind == "gym":
        import reasoning_gym  # noqa: F401  # pyright: ignore[reportMissingImports]

        return
    from lenrl.verify.math.compare import compare

    for gold, answer in _WARM:
        compare(answer, gold, Limits())


_WARM = (
    (r"\frac{\sqrt{3}}{2}", r"\sqrt{3}/2"),
    ("x^2+2x+1", "(x+1)^2"),
    (r"x \le 3", r"3 \ge x"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}"),
    (r"(-\infty, 2] \cup (3,4)", "(1,2]"),
)
