"""Accuracy by length of each model, of all its problems and of each difficulty, as `eval.json` has it."""

import math
from collections.abc import Mapping, Sequence

from lenrl.measures.format import Figures
from lenrl.report.entries import Entry
from lenrl.report.multiples import Pair, small
from lenrl.report.panels import PERCENT, Figure, Panel, Part, error, line, markers

DOUBLING = {"type": "log", "tick0": 0, "dtick": math.log10(2), "tickformat": ".0f"}
PANEL = Panel("tokens (median of a bin)", "accuracy", "", DOUBLING, PERCENT | {"rangemode": "normal"})
GRADES = ("#0072b2", "#009e73", "#56b4e9", "#e69f00", "#cc79a7", "#8a6fd1", "#a65628")  # taken in turns


def curve(entry: Entry) -> Figures | None:
    """Accuracy by length of all problems; None: there is none."""
    return (entry.figures.get("by_length") or {}).get("all")


def figure(decoding: str, pairs: Sequence[Pair], palette: Mapping[str, str]) -> Figure:
    """A panel a model, its base behind it."""
    traces: list[Part] = []
    known = set[str]()

    def draw(name: str, shown: Figures, colour: str, panel: int, width: int) -> None:
        x, y = ([b[key] for b in shown["bins"]] for key in ("tokens", "accuracy"))
        shared = {"legendgroup": name, "showlegend": name not in known}
        known.add(name)
        traces.append(line(name, x, y, colour, panel, width=width) | shared)

    for panel, (entry, base) in enumerate(pairs):
        if base and (behind := curve(base)):
            draw(base.name, behind, palette[base.name], panel, 1)
        for number, (grade, own) in enumerate(entry.figures["by_length"]["by_difficulty"].items()):
            if own:
                draw(f"difficulty {grade}", own, GRADES[number % len(GRADES)], panel, 1)
        every = entry.figures["by_length"]["all"]
        draw(entry.name, every, palette[entry.name], panel, 2)
        traces += _points(entry.name, every, palette[entry.name], panel)
    made = small(traces, pairs, PANEL, decoding)
    made["layout"]["showlegend"] = True
    return made


def _points(name: str, shown: Figures, colour: str, panel: int) -> list[Part]:
    """The bins with their intervals, and the best one as a star."""
    x, y = ([b[key] for b in shown["bins"]] for key in ("tokens", "accuracy"))
    bars = error(shown["bins"], "accuracy", colour)
    best = max(range(len(y)), key=y.__getitem__)
    dots = markers(f"{name}, intervals", x, y, colour, panel, size=4, symbol="circle")
    star = markers(f"{name}, best", [x[best]], [y[best]], colour, panel, symbol="star")
    shared = {"legendgroup": name, "showlegend": False}
    return [dots | shared | {"error_y": bars}, star | shared]
