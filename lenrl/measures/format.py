"""Figures in words: shares, points, tokens, and a value with its interval."""

from collections.abc import Callable, Sequence


def with_interval(
    value: float | None, interval: Sequence[float | None] | None, write: Callable[[float], str]
) -> str:
    """E.g. `87.0% [84.1%, 89.5%]`; a dash where nothing is known."""
    if value is None or interval is None:
        return "-"
    low, high = ("?" if end is None else write(end) for end in interval)
    return f"{write(value)} [{low}, {high}]"


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f}"


def change(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * (ratio - 1):+.0f}%"


def tokens(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"
