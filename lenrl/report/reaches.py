"""The longest problems that each model still solves, on its accuracy by their length, as `eval.json` has both."""

import re
from collections.abc import Mapping, Sequence

from lenrl.measures.reach import LEVELS
from lenrl.report.entries import Entry
from lenrl.report.multiples import Pair, small
from lenrl.report.panels import PERCENT, Figure, Panel, Part, error, line, markers, number

PANEL = Panel("length of the problem", "accuracy", "", {}, PERCENT)
SYMBOLS = dict(zip(LEVELS, ("star", "diamond"), strict=True))


def figure(decoding: str, pairs: Sequence[Pair], palette: Mapping[str, str]) -> Figure:
    """A panel a model, its base behind it."""
    traces: list[Part] = []
    for panel, (entry, base) in enumerate(pairs):
        trained = [entry.figures["reach"]["train_max"]] * 2
        edge = line("longest that was trained", trained, [0, 1], "text", panel, width=1, dash="dot")
        traces.append(edge | {"hoverinfo": "skip"})
        for one, width in ((base, 1), (entry, 2)):
            if one and one.figures.get("reach"):
                traces += _drawn(one, palette[one.name], panel, width)
    return small(traces, pairs, PANEL, decoding)


def _drawn(entry: Entry, colour: str, panel: int, width: int) -> list[Part]:
    """Accuracy by length, and the longest one up to which a share is solved, with its interval."""
    grades = entry.figures.get("by_difficulty") or {}
    solved_by = {
        int(n): number(found["accuracy"]) for n, found in grades.items() if re.fullmatch("[0-9]{1,9}", n)
    }
    lengths = sorted(solved_by)
    solved = [solved_by[n] for n in lengths]
    drawn = [line(entry.name, lengths, solved, colour, panel, width=width)] if lengths else []
    for level, symbol in SYMBOLS.items():
        key, found = f"reach_{level}", entry.figures["reach"]
        point = markers(
            f"{entry.name}, {level}% solved", [found[key]], [level / 100], colour, panel, symbol=symbol
        )
        drawn.append(point | {"error_x": error([found], key, colour)})
    return drawn
