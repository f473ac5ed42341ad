"""Checks of a strategy's state that a file gives back; standard library only."""

import math
from typing import Any


def count(value: Any, name: str, least: int = 0) -> int:
    """A whole number of at least `least`.

    >>> count(3, "visits")
    3

    Raises:
        ValueError: it is none.
    """
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is {value!r:.60}, must be a whole number of at least {least}")
    return value


def number(value: Any, name: str, most: float = math.inf) -> float:
    """A finite number from 0 to `most`.

    Raises:
        ValueError: it is none.
    """
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= most:
        raise ValueError(
            f"{name} is {value!r:.60}, must be a number from 0{f' to {most:g}' if most < math.inf else ''}"
        )
    return float(value)
