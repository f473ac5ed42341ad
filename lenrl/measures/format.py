"""Figures as plain values and in words: shares, points, tokens, a value with its interval."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lenrl.measures.intervals import Estimate

Figures = dict[str, Any]  # by name, plain values
Evaluation = dict[str, list[Figures]]  # `models` and `pairs`, as `eval.json` has them


def named(name: str, estimate: Estimate | None) -> Figures:
    """An estimate's value under a name, its interval under `NAME_ci95`; None where there is none."""
    return {name: estimate and estimate.value, f"{name}_ci95": estimate and estimate.ci95}


def with_interval(
    value: float | None, interval: Sequence[float | None] | None, write: Callable[[float], str]
) -> str:
    """E.g. `87.0% [84.1%, 89.5%]`; a dash where nothing is known."""
    if value is None or interval is None:
        return "-"
    low, high = ("?" if end is None or math.isinf(end) else write(end) for end in interval)
    return f"{write(value)} [{low}, {high}]"


def figure(figures: Mapping[str, Any], name: str, write: Callable[[float], str]) -> str:
    """A figure of `eval.json` with its interval; a dash where it is missing or unknown."""
    return with_interval(figures.get(name), figures.get(f"{name}_ci95"), write)


def estimate(found: Estimate | None, write: Callable[[float], str]) -> str:
    """An estimate with its interval; a dash where there is none."""
    return "-" if found is None else with_interval(found.value, found.ci95, write)


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
