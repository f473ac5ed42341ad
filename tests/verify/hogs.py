"""What a worker may meet in the middle of a chunk, for the pool's tests: items, seconds -> results."""

import os
import time


def hold_the_lock(items, timeout_s):
    """One long C call if the item asks for it: no signal handler runs, only killing the process ends it."""
    return [pow(7, 10**9) if item == "guilty" else f"judged {item}" for item in items]


def sleep(items, timeout_s):
    return [time.sleep(600) if item == "guilty" else f"judged {item}" for item in items]


def exit_abruptly(items, timeout_s):
    return [os._exit(3) if item == "guilty" else f"judged {item}" for item in items]


def abort(items, timeout_s):
    return [os.abort() if item == "guilty" else f"judged {item}" for item in items]


def allocate(items, timeout_s):
    return [bytearray(3 * 2**30) if item == "guilty" else f"judged {item}" for item in items]


def one_at_a_time(items, timeout_s):
    return [f"judged {item}" for item in items[:1]]


def always_exit(items, timeout_s):
    os._exit(3)


def evaluate(items, timeout_s):
    """What a scorer of a library might do with an answer; a bare `except` swallows what stops it."""
    from lenrl.verify import worker

    def careless(text):
        try:
            return bool(eval(text)), True
        except:  # noqa: E722
            return True, True

    def judge(text):
        return (*worker._guarded(lambda: careless(text), timeout_s), os.getpid())

    worker._end_if_spent()
    return worker._until(judge, items, timeout_s)


def two_claims_a_worker(items, timeout_s):
    """Process ids of the workers that judge, each of which may judge two."""
    from lenrl.verify import worker

    worker.CLAIMS_A_WORKER = 1
    worker._end_if_spent()
    return worker._until(lambda _: os.getpid(), items, timeout_s)
