"""One answer against one gold answer, structure first, then the leaves. Runs in workers: it loads sympy."""

import re

from lenrl.verify.limits import Limits, TooBig, Unreadable, check
from lenrl.verify.math import algebra
from lenrl.verify.math.normalize import choice, same_spelling, tidy, words
from lenrl.verify.math.numbers import is_share, read_number
from lenrl.verify.math.quick import plain, quick_tidy, tidy_gold
from lenrl.verify.math.structure import same_shape, shape
from lenrl.verify.math.units import split_unit

_RELATION = re.compile(r"[<>=]|\\(?:le|ge|ne|approx|in|cup|cap|setminus|begin|mid)(?![A-Za-z])")


def compare(answer: str, gold: str, limits: Limits) -> tuple[bool, bool]:
    """(correct, formatted); raises TooBig for the answer. The gold one must have been read (`readable`)."""
    target, text = tidy(gold), tidy(answer)
    check(text, limits)
    if (decided := quick_tidy(text, target)) is not None:
        return decided
    correct = same_spelling(target, text) or _same(target, text, limits)
    return correct, formatted(text, limits)


def formatted(text: str, limits: Limits, depth: int = 0) -> bool:
    """A tidy answer reads as mathematics: every part parses."""
    if read_number(text) is not None or choice(text) is not None:
        return True
    if words(text) is not None or depth > 8:
        return False
    parts = shape(text, limits.max_elements)
    if parts.kind != "one":
        return all(formatted(part, limits, depth + 1) for part in parts.items)
    core, _ = split_unit(text)
    return any(algebra.reads(part, limits.max_value_digits) for part in (core or text, text))


def readable(gold: str, limits: Limits) -> bool:
    """A gold answer parses within the limits and is equal to itself."""
    try:
        target = tidy_gold(gold, limits)
        return plain(gold, limits) or formatted(target, limits) and _same(target, target, limits)
    except (TooBig, Unreadable):
        return False


def _same(gold: str, answer: str, limits: Limits) -> bool:
    try:
        return same_shape(gold, answer, lambda a, b: _same_leaf(a, b, limits), limits.max_elements)
    except (
        Unreadable
    ):  # a gold answer that is read part by part, held as a whole against an answer of another shape
        return False


def _same_leaf(gold: str, answer: str, limits: Limits) -> bool:
    if same_spelling(gold, answer):
        return True
    if (decided := quick_tidy(answer, gold)) is not None:
        return decided[0]
    if words(gold) is not None or words(answer) is not None:
        return False
    (a, unit), (b, other) = _value(gold), _value(answer)
    if unit and other and unit != other or not a or not b:
        return False
    if algebra.same_value(a, b, limits.max_value_digits):
        return True
    number = read_number(a)
    if (unit == "%") != (other == "%") and (unit == "%" or number is None or is_share(number)):
        a, b = (f"({a})/100" if unit == "%" else a), (f"({b})/100" if other == "%" else b)
        return algebra.same_value(a, b, limits.max_value_digits)
    return False


def _value(text: str) -> tuple[str, str]:
    core, unit = split_unit(text)
    return (text, "") if _RELATION.search(core) else (core, unit)
