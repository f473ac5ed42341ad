"""A worker process: it judges chunks of (answer, gold) pairs under CPU-time and memory limits.

Imports the standard library only until it is set up; never torch. Results are plain tuples.
A worker dies with its parent, ignores Ctrl-C, and is killed from outside when a single C call hogs it.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from lenrl.verify import no_execution
from lenrl.verify.kinds import KINDS, Kind, Math, Result
from lenrl.verify.limits import Limits, TooBig
from lenrl.verify.process_limits import (
    MIB,
    SPENT_EXIT,
    address_space,
    end_with_parent,
    limit_memory,
)

Pair = tuple[str | None, str]  # answer, gold
Item = TypeVar("Item")
Judged = TypeVar("Judged")
CLAIMS_A_WORKER = 20_000  # sympy's and the grammar's caches keep about 0.7 KiB of each

_kind: Kind = Math(Limits())
_ceiling = 0  # bytes of address space; 0: none set
_golds: dict[str, bool] = {}
_judged = [0]  # claims of this worker
_armed: list[bool] = []  # not empty while a claim's CPU time runs


class OutOfTime(BaseException):
    """The CPU time of one claim is used up. Not an Exception: sympy swallows those."""


def set_up(parent: int, kind: Any, memory_mib: int, limits: dict[str, int]) -> None:
    """Worker initializer: signals, death with the parent, warm imports, memory limit (in this order).

    `kind` is the name of one of KINDS, or the `lenrl.verify.plugged.Spec` of a plug-in.
    """
    global _kind, _ceiling  # noqa: PLW0603
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a Python handler would wait for a long C call
    signal.signal(signal.SIGPROF, _out_of_time)
    end_with_parent(parent)
    sys.setrecursionlimit(3000)
    if isinstance(kind, str):
        _kind = KINDS[kind](Limits(**limits))
        _kind.warm_up()
        no_execution.install()
    else:
        from lenrl.verify.plugged import in_worker  # it loads pydantic

        _kind = in_worker(Limits(**limits), kind)
    if memory_mib:
        _ceiling = limit_memory(memory_mib)


def judge_chunk(pairs: Sequence[Pair], timeout_s: float) -> list[Result]:
    """Results for the first pairs, in order; fewer than pairs once half the time, or a limit, is used up.

    The caller sends the rest again. `timeout_s` counts CPU seconds, for each pair by itself.
    """
    _end_if_spent()
    return _until(lambda pair: judge(*pair, timeout_s), pairs, timeout_s)


def judge_plugged(items: Sequence[Any], timeout_s: float) -> list[Result]:
    """Like `judge_chunk`, for the items of a plug-in."""
    from lenrl.verify.plugged import Plugged, Unusable

    if isinstance(_kind, Unusable):
        return [(_kind.failure, False, "error") for _ in items]
    assert isinstance(_kind, Plugged)
    kind = _kind
    if kind.together:
        return kind.many(items, timeout_s, _guarded)
    return _until(lambda item: _guarded(lambda: kind.one(item), timeout_s), items, timeout_s)


def judge_golds(golds: Sequence[str], timeout_s: float) -> list[bool]:
    """Like `judge_chunk`, for gold answers alone."""
    _end_if_spent()
    return _until(lambda gold: gold_readable(gold, timeout_s), golds, timeout_s)


def judge(answer: str | None, gold: str, timeout_s: float) -> Result:
    """One answer against one gold answer. Limits that the gold overruns make the verdict unknown."""
    if not gold_readable(gold, timeout_s):
        same = answer is not None and _kind.same_text(answer, gold)
        return (True, False, "ok") if same else (None, False, "abstained")
    if answer is None:
        return False, False, "ok"
    return _guarded(lambda: _kind.compare(answer, gold), timeout_s)


def gold_readable(gold: str, timeout_s: float) -> bool:
    """A gold answer parses and equals itself within the limits; remembered."""
    if gold not in _golds:
        if len(_golds) > 20_000:
            _golds.clear()
        _golds[gold] = _guarded(lambda: (_kind.readable(gold), True), timeout_s)[0] is True
    return _golds[gold]


def _end_if_spent() -> None:
    """End a worker that earlier claims have bloated or tampered with, or that has judged enough."""
    bloated = _ceiling and address_space() > _ceiling - 64 * MIB
    if _judged[0] and (bloated or _judged[0] > CLAIMS_A_WORKER or no_execution.refused()):
        os._exit(SPENT_EXIT)


def _until(work: Callable[[Item], Judged], items: Sequence[Item], timeout_s: float) -> list[Judged]:
    started, results = time.monotonic(), []
    for item in items:
        results.append(work(item))
        _judged[0] += 1
        cut = isinstance(results[-1], tuple) and results[-1][2] in ("timeout", "memory")
        if cut or no_execution.refused() or time.monotonic() - started > timeout_s / 2:
            break
    return results


def _guarded(decide: Callable[[], tuple[bool | None, bool]], timeout_s: float) -> Result:
    try:
        with _cpu_time(timeout_s), no_execution.judged():
            correct, formatted = decide()
        return correct, formatted, "abstained" if correct is None else "ok"
    except OutOfTime:
        _let_go()
        return False, False, "timeout"
    except MemoryError:
        _let_go()
        return False, False, "memory"
    except (TooBig, RecursionError, no_execution.Refused):
        return False, False, "limit"
    except Exception:
        return None, False, "error"


@contextmanager
def _cpu_time(seconds: float) -> Iterator[None]:
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


def _let_go() -> None:
    _kind.drop_caches()
    gc.collect()
