"""One answer against one gold answer, structure first, then the leaves. Runs in workers: it loads sympy."""

from __future__ import annotations

import re

from lenrl.verify.limits import Limits, TooBig, Unreadable, check
from lenrl.verify.math import algebra
from lenrl.verify.math.normalize import choice, key, letters, tidy, words
from lenrl.verify.math.numbers import read_number, same_number
from lenrl.verify.math.quick import quick_tidy, tidy_gold
from lenrl.verify.math.structure import same_shape, shape
from lenrl.verify.math.units import split_unit

_RELATION = re.compile(r"[<>=]|\\(?:le|ge|ne|approx|in|cup|cap|setminus|begin|mid)(?![A-Za-z])")


def compare(answer: str, gold: str, limits: Limits) -> tuple[bool, bool]:
    """(correct, formatted); raises TooBig for the answer. The gold one must have been read (`readable`)."""
    wanted, given = tidy(gold), tidy(answer)
    check(given, limits)
    if (decided := quick_tidy(given, wanted)) is not None:
        return decided
    correct = _same_words(wanted, given) or key(answer) == key(gold) or _same(wanted, given, limits)
    return correct, formatted(given, limits)


def formatted(given: str, limits: Limits, depth: int = 0) -> bool:
    """Whether a tidy answer reads as mathematics: every part parses."""
    if read_number(given) is not None or choice(given) is not None:
        return True
    if words(given) is not None or depth > 8:
        return False
    parts = shape(given, limits.max_elements)
    if parts.kind != "one":
        return all(formatted(part, limits, depth + 1) for part in parts.items)
    core, _ = split_unit(given)
    return algebra.reads(core or given, limits.max_value_digits) or algebra.reads(
        given, limits.max_value_digits
    )


def readable(gold: str, limits: Limits) -> bool:
    """Whether a gold answer parses within the limits and is equal to itself."""
    try:
        wanted = tidy_gold(gold, limits)
        if read_number(wanted) is not None or choice(wanted) is not None or words(wanted) is not None:
            return True
        return formatted(wanted, limits) and _same(wanted, wanted, limits)
    except (TooBig, Unreadable):
        return False


def _same(wanted: str, given: str, limits: Limits) -> bool:
    return same_shape(wanted, given, lambda a, b: _same_leaf(a, b, limits), limits.max_elements)


def _same_leaf(wanted: str, given: str, limits: Limits) -> bool:
    if _spaceless(wanted) == _spaceless(given):
        return True
    number, target = read_number(given), read_number(wanted)
    if number is not None and target is not None:
        return same_number(target, number)
    if words(wanted) is not None or words(given) is not None:
        return _same_words(wanted, given)
    letter = choice(wanted) if re.search(r"[A-Z]", wanted) else None
    if letter is not None and letter == choice(given):
        return True
    (a, unit), (b, other) = (x if _RELATION.search(x[0]) is None else (t, "") for t, x in
                             ((wanted, split_unit(wanted)), (given, split_unit(given))))  # fmt: skip
    if unit and other and unit != other:
        return False
    if not a or not b:
        return False
    if algebra.same_value(a, b, limits.max_value_digits):
        return True
    if (unit == "%") != (other == "%"):
        a, b = (f"({a})/100" if unit == "%" else a), (f"({b})/100" if other == "%" else b)
        return algebra.same_value(a, b, limits.max_value_digits)
    return False


def _same_words(wanted: str, given: str) -> bool:
    wish, said = words(wanted), words(given)
    if wish is not None and said is not None:
        return wish == said
    bare = letters(wanted) if wish is not None or said is not None else None
    return bare is not None and bare == letters(given)


def _spaceless(text: str) -> str:
    return re.sub(r"\s", "", text)
