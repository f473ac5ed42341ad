"""Answers that text alone decides: plain numbers, choice letters, words. Cheap, so the parent does it."""

from __future__ import annotations

import re
from functools import lru_cache

from lenrl.verify.limits import Limits, TooBig, Unreadable, check
from lenrl.verify.math.normalize import choice, letters, tidy, words
from lenrl.verify.math.numbers import read_number, same_number


def quick(answer: str, gold: str, limits: Limits) -> tuple[bool, bool] | None:
    """(correct, formatted) where text alone decides: plain numbers, choice letters, words. Else None.

    Raises TooBig if the answer, or Unreadable if the gold one, is beyond the limits.
    """
    wanted = tidy_gold(gold, limits)
    check(answer, limits)
    given = tidy(answer)
    check(given, limits)
    return quick_tidy(given, wanted)


def quick_tidy(given: str, wanted: str) -> tuple[bool, bool] | None:
    number, target = read_number(given), read_number(wanted)
    if number is not None and target is not None:
        return same_number(target, number), True
    letter = choice(wanted) if len(wanted) <= 12 and re.search(r"[A-Z]", wanted) else None
    if letter is not None and letter == choice(given):
        return True, True
    if number is not None and (letter is not None or words(wanted) is not None):
        return False, True
    said, wish = words(given), words(wanted)
    if said is not None and wish is not None:
        return said == wish, False
    if said is not None or wish is not None:
        bare = letters(wanted)
        if bare is not None and bare == letters(given):
            return True, False
    if said is not None and target is not None:
        return False, False
    return None


@lru_cache(maxsize=4096)
def tidy_gold(gold: str, limits: Limits) -> str:
    try:
        check(gold, limits)
        wanted = tidy(gold)
        check(wanted, limits)
    except TooBig as error:
        raise Unreadable(str(error)) from None
    if not wanted:
        raise Unreadable("empty")
    return wanted
