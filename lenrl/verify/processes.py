"""The worker processes: forked from a clean server that has the parsers loaded, never from the trainer."""

import multiprocessing
import multiprocessing.context
import os
import sys
import threading
from typing import Any

from pebble import ProcessPool

from lenrl.verify.worker import set_up

SAFE_PATH = "PYTHONSAFEPATH"
_launching = threading.Lock()


class _Worker(multiprocessing.context.ForkServerProcess):
    """A process without the parent's main module: a training script would load torch in each worker.

    Nor do its server's imports look into the working directory, where anyone's `sympy.py` may lie.
    """

    def start(self) -> None:
        main = vars(sys.modules["__main__"])
        with _launching:
            hidden = {name: main.pop(name) for name in ("__spec__", "__file__") if name in main}
            main["__spec__"] = None
            before = os.environ.get(SAFE_PATH)
            os.environ[SAFE_PATH] = "1"
            try:
                super().start()
            finally:
                os.environ.pop(SAFE_PATH)
                os.environ.update({} if before is None else {SAFE_PATH: before})
                main.update(hidden)


class _Context(multiprocessing.context.ForkServerContext):
    Process = _Worker  # type: ignore[assignment]


def new_pool(workers: int, kind: Any, memory_mib: int, limits: dict[str, int]) -> Any:
    """A pebble pool, its workers not yet started; `memory_mib` is what each may add to its start-up size."""
    context = _Context()
    if kind == "math":
        # No effect if something else started the process-wide server before: workers then import themselves.
        context.set_forkserver_preload(["lenrl.verify.warm"])
    initargs = (os.getpid(), kind, memory_mib, limits)
    return ProcessPool(max_workers=workers, initializer=set_up, initargs=initargs, context=context)


def stop(pool: Any) -> None:
    """Kill the workers and wait for them.

    Workers first: pebble removes their semaphores before it kills them, and one that is just starting would print
    a traceback about that.
    """
    pool.stop()
    if pool._pool_manager_loop is not None:
        pool._pool_manager_loop.join()  # from here on it starts no more workers
        pool._pool_manager.worker_manager.force_stop_workers()
    pool.join()
