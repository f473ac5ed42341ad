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
