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
