"""Accuracy by length of each model, of all its problems and of each difficulty, as `eval.json` has it."""

import math
from collections.abc import Mapping, Sequence

from lenrl.measures.format import Figures
from lenrl.report.entries import Entry
from lenrl.report.multiples import Pair, by_decoding, small
from lenrl.report.panels import PERCENT, Figure, Panel, Part, line, markers

DOUBLING = {"type": "log", "tick0": 0, "dtick": math.log10(2), "tickformat": ".0f"}
PANEL = Panel("tokens (median of a bin)", "accuracy", "", DOUBLING, PERCENT | {"rangemode": "normal"})
GRADES = ("#0072b2", "#009e73", "#56b4e9", "#e69f00", "#cc79a7", "#8a6fd1", "#a65628")  # taken in turns


def figures(
    entries: Sequence[Entry], bases: Sequence[Entry | None], palette: Mapping[str, str]
) -> list[Figure]:
    """A figure a decoding, a panel a model, its base behind it."""
    pairs = by_decoding(entries, bases, lambda entry: _curve(entry) is not None)
    return [_figure(decoding, same, palette) for decoding, same in pairs]


def _curve(entry: Entry) -> Figures | None:
    return (entry.figures.get("by_length") or {}).get("all")


def _figure(decoding: str, pairs: Sequence[Pair], palette: Mapping[str, str]) -> Figure:
    traces: list[Part] = []
    known = set[str]()

    def draw(name: str, curve: Figures, colour: str, panel: int, width: int) -> None:
        x, y = ([b[key] for b in curve["bins"]] for key in ("tokens", "accuracy"))
        shared = {"legendgroup": name, "showlegend": name not in known}
        known.add(name)
        traces.append(line(name, x, y, colour, panel, width=width) | shared)

    for panel, (entry, base) in enumerate(pairs):
        if base and (behind := _curve(base)):
            draw(base.name, behind, palette[base.name], panel, 1)
        for number, (grade, curve) in enumerate(entry.figures["by_length"]["by_difficulty"].items()):
            if curve:
                draw(f"difficulty {grade}", curve, GRADES[number % len(GRADES)], panel, 1)
        curve = entry.figures["by_length"]["all"]
        draw(entry.name, curve, palette[entry.name], panel, 2)
        traces += _points(entry.name, curve, palette[entry.name], panel)
    figure = small(traces, pairs, PANEL, decoding)
    figure["layout"]["showlegend"] = True
    return figure


def _points(name: str, curve: Figures, colour: str, panel: int) -> list[Part]:
    """The bins with their intervals, and the best one as a star."""
    x, y, ends = ([b[key] for b in curve["bins"]] for key in ("tokens", "accuracy", "accuracy_ci95"))
    above, below = ([abs(end[side] - value) for end, value in zip(ends, y, strict=True)] for side in (1, 0))
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": colour}
    best = max(range(len(y)), key=y.__getitem__)
    dots = markers(f"{name}, intervals", x, y, colour, panel, size=4, symbol="circle")
    star = markers(f"{name}, best", [x[best]], [y[best]], colour, panel, symbol="star")
    shared = {"legendgroup": name, "showlegend": False}
    return [dots | shared | {"error_y": bars | {"thickness": 1, "width": 3}}, star | shared]
