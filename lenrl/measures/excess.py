"""Lengths of answers against what was enough, or against what was asked for."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

# Words asked for: the ranges (above, up to) of the precise and of the flexible match.
# Source: arXiv 2409.18943 and the authors' published ranges.
RULER_RANGES: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "10": ((0, 20), (0, 20)),
    "30": ((20, 40), (20, 40)),
    "50": ((40, 60), (40, 60)),
    "80": ((70, 90), (60, 100)),
    "150": ((130, 170), (100, 200)),
    "300": ((280, 320), (200, 400)),
    "500": ((450, 550), (400, 600)),
    "700": ((630, 770), (600, 800)),
    ">800": ((800, math.inf), (800, math.inf)),
}


RULER_LEVELS: Mapping[str, tuple[str, ...]] = {
    "0": ("10", "30", "50", "80"),
    "1": ("150", "300", "500"),
    "2": ("700", ">800"),
}
CJK = r"[\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af]"
CONSTRAINTS = ("about", "at least", "at most")


def yap_score(answer: str, baseline: str) -> int:
    """Characters beyond the shortest answer that is enough. Source: arXiv 2601.00624.

    >>> yap_score("Paris, the capital.", "Paris"), yap_score("P", "Paris")
    (14, 0)
    """
    return max(0, len(answer) - len(baseline))


def yap_index(scores: Mapping[str, Sequence[float]]) -> float | None:
    """Mean over categories of the median score in each, characters; None without scores. Source: as above.

    >>> yap_index({"facts": [0, 10, 500], "code": [30]})
    20.0
    """
    medians = [float(np.median(values)) for values in scores.values() if len(values)]
    return float(np.mean(medians)) if medians else None


def words(text: str) -> int:
    """Words as the Ruler counts them: runs of letters, digits and underscores."""
    return len(re.findall(r"\w+", text))


def in_range(count: float, limits: tuple[float, float]) -> bool:
    """Above the lower limit and up to the upper one, as the Ruler counts."""
    return limits[0] < count <= limits[1]


def words_or_signs(text: str) -> int:
    """Words between spaces, and each Chinese, Japanese or Korean sign as one. Source: Self-Lengthen, arXiv 2410.23933.

    >>> words_or_signs("three more words"), words_or_signs("\u4f60\u597d, world")
    (3, 4)
    """
    signs = re.findall(CJK, text)
    return len(signs) + len(re.sub(CJK, " ", text).split())


def length_score(asked: float, written: float) -> float:
    """The share that a length earns against the one asked for; 0 at a third of it and at four times.

    Source: LongWriter's S_l, arXiv 2408.07055, over 100; an empty answer gets 0 (the released code divides by it).

    >>> [round(length_score(1000, n), 4) for n in (1000, 2000, 4000, 800, 500, 334, 333, 0)]
    [1.0, 0.6667, 0.0, 0.875, 0.5, 0.003, 0.0, 0.0]
    """
    if written <= 0:
        return 0.0
    return max(0.0, 1 - (written / asked - 1) / 3 if written > asked else 1 - (asked / written - 1) / 2)


def constraint_limits(kind: str, words: float) -> tuple[float, float]:
    """The lengths that fulfil `about`, `at least` or `at most` so many words. Source: Self-Lengthen, as above.

    >>> constraint_limits("at least", 1000)
    (1000, 1500.0)
    """
    return {
        "about": (0.8 * words, 1.2 * words),
        "at least": (words, 1.5 * words),
        "at most": (0.5 * words, words),
    }[kind]


def constraint_score(limits: tuple[float, float], written: float) -> float:
    """1 within the limits, `2 L / lo - 1` below them, `3 - 2 L / hi` above, never under 0. Source: LonGen, as above.

    >>> [round(constraint_score(constraint_limits("about", 1000), n), 4) for n in (700, 1000, 1500, 1800)]
    [0.75, 1.0, 0.5, 0.0]
    """
    low, high = limits
    if written < low:
        return max(0.0, 2 * written / low - 1)
    return 1.0 if written <= high else max(0.0, 3 - 2 * written / high)
