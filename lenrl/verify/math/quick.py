"""Answers that text alone decides: plain numbers, choice letters, words. Cheap, so the parent does it."""

import re
from functools import lru_cache

from lenrl.verify.limits import Limits, TooBig, Unreadable, check
from lenrl.verify.math.normalize import choice, letters, tidy, words
from lenrl.verify.math.numbers import read_number, same_number


def quick(answer: str, gold: str, limits: Limits) -> tuple[bool, bool] | None:
    """(correct, formatted) where text alone decides: plain numbers, choice letters, words. Else None.

    Raises TooBig if the answer, or Unreadable if the gold one, is beyond the limits.
    """
    target = tidy_gold(gold, limits)
    check(answer, limits)
    text = tidy(answer)
    check(text, limits)
    return quick_tidy(text, target)


def quick_tidy(answer: str, gold: str) -> tuple[bool, bool] | None:
    """`quick` for tidy texts."""
    number, target = read_number(answer), read_number(gold)
    if number is not None and target is not None:
        return same_number(target, number), True
    letter = choice(gold) if re.search(r"[A-Z]", gold) else None
    if letter is not None and letter == choice(answer):
        return True, True
    spoken, language = words(answer), words(gold)
    if number is not None and (letter is not None or language is not None):
        return False, True
    if spoken is not None and language is not None:
        return spoken == language, False
    if spoken is not None or language is not None:
        bare = letters(gold)
        if bare is not None and bare == letters(answer):
            return True, False
    return (False, False) if spoken is not None and target is not None else None


def plain(gold: str, limits: Limits) -> bool:
    """A gold answer is a number, a choice letter or words, which text alone decides to be readable."""
    try:
        text = tidy_gold(gold, limits)
    except Unreadable:
        return False
    return any(read(text) is not None for read in (read_number, choice, words))


@lru_cache(maxsize=4096)
def tidy_gold(gold: str, limits: Limits) -> str:
    """The tidy gold answer; raises Unreadable if it is blank or beyond the limits."""
    try:
        check(gold, limits)
        text = tidy(gold)
        check(text, limits)
    except TooBig as error:
        raise Unreadable(str(error)) from None
    if not text:
        raise Unreadable("empty")
    return text
