"""Cheap guards on an answer's text, before anything parses it."""

import re
from dataclasses import dataclass

_DIGITS = re.compile(r"\d[\d,]*")
# Commands that may cost much more than their length; such answers get a worker call of their own.
_COSTLY = re.compile(
    r"!|\^[^^]*\^|\\(?:sum|prod|int|lim|binom|dbinom|tbinom|operatorname|det|gcd|lcm|choose)|\d{7}|\^\{?\d{4}"
)


@dataclass(frozen=True)
class Limits:
    """The plain-typed part of the settings that workers need."""

    max_answer_chars: int = 2000
    max_digits: int = 400
    max_nesting: int = 24
    max_value_digits: int = 5000
    max_elements: int = 64


class TooBig(Exception):
    """An answer beyond a limit."""


class Unreadable(Exception):
    """A text that does not parse as mathematics."""


def check(text: str, limits: Limits) -> None:
    """Raise TooBig if the text is too long, nests too deep or holds too long a number."""
    if len(text) > limits.max_answer_chars:
        raise TooBig(f"{len(text)} characters, at most {limits.max_answer_chars}")
    depth = 0
    for char in text:
        if char in "([{":
            depth += 1
            if depth > limits.max_nesting:
                raise TooBig(f"brackets nested deeper than {limits.max_nesting}")
        elif char in ")]}":
            depth = max(0, depth - 1)
    for run in _DIGITS.finditer(text):
        if len(run.group()) > limits.max_digits and sum(map(str.isdigit, run.group())) > limits.max_digits:
            raise TooBig(f"a number of {len(run.group())} digits, at most {limits.max_digits}")


def costly(text: str) -> bool:
    """Comparing it may take long, judged by its text alone."""
    return len(text) > 300 or _COSTLY.search(text) is not None
