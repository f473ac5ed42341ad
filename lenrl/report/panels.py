"""Parts of figures as plotly's plain data: panels and their axes, lines, intervals; a figure in words and as rows.

A colour is a hex value or a role (`before`, `after`, `text`, `grid`), for which the page puts the theme's colour.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lenrl.measures.format import Figures

Figure = dict[str, Any]  # `data` and `layout`, and a `label` where several are of one kind
Part = dict[str, Any]  # of a figure: a trace, its points, a layout

PERCENT: Part = {"tickformat": ".0%"}
SMALL = 3  # columns of small panels


@dataclass(frozen=True)
class Panel:
    """Titles of a panel's axes, more of each axis as plotly has it, and a heading."""

    x: str
    y: str
    heading: str = ""
    x_more: Part = field(default_factory=dict)
    y_more: Part = field(default_factory=dict)


def axes(panel: int) -> dict[str, str]:
    """The axes of a panel, counted from 0, in plotly's names."""
    number = "" if panel == 0 else str(panel + 1)
    return {"xaxis": f"x{number}", "yaxis": f"y{number}"}


def layout(panels: Sequence[Panel], *, columns: int = 2, zero: bool = True, small: bool = False) -> Part:
    """Panels in columns, axes from zero or fitted; small ones share their axes, whose titles stand at the edges."""
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    row = 170 if small else 300  # pixels
    height = 110 + row * rows
    made: Part = {
        "legend": {"x": 1.02, "y": 1},  # names of runs are long: it stands next to the plot
        "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
        "font": {"color": "text"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "height": height if len(panels) > 1 else 420,
        "annotations": [_heading(number, panel) for number, panel in enumerate(panels) if panel.heading],
    }
    if len(panels) > 1:
        made["grid"] = {"rows": rows, "columns": columns, "pattern": "independent"}
        made["grid"] |= {"xgap": 0.14 if small else 0.18, "ygap": 0.32 if small else 0.3}
    for number, panel in enumerate(panels):
        mode = {"rangemode": "tozero" if zero else "normal", "gridcolor": "grid", "zerolinecolor": "grid"}
        edge = {"x": number + columns >= len(panels), "y": number % columns == 0}
        for axis, title, extra in (("x", panel.x, panel.x_more), ("y", panel.y, panel.y_more)):
            shared = {"matches": axis} if small and number else {}
            titled = {"title": {"text": title, "standoff": 8}} if edge[axis] or not small else {}
            name = axes(number)[f"{axis}axis"].replace(axis, f"{axis}axis")
            made[name] = {"automargin": True, **mode, **titled, **shared, **extra}
    return made


def _heading(number: int, panel: Panel) -> Part:
    """A panel's heading above its left end."""
    place = {
        "xref": f"{axes(number)['xaxis']} domain",
        "yref": f"{axes(number)['yaxis']} domain",
        "x": 0,
        "y": 1,
    }
    shown = panel.heading if len(panel.heading) <= 44 else f"{panel.heading[:43]}…"
    return {"text": shown, **place, "xanchor": "left", "yanchor": "bottom", "showarrow": False}


def line(
    name: str, x: Sequence[object], y: Sequence[object], colour: str, panel: int = 0, **style: object
) -> Part:
    """A line of a panel; `style`: of the line, as plotly has it."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"color": colour, "width": 1.5, "dash": "solid", **style},
        **axes(panel),
    }


def markers(
    name: str,
    x: Sequence[object],
    y: Sequence[object],
    colour: str | Sequence[str],
    panel: int = 0,
    **style: object,
) -> Part:
    """Points of a panel; `style`: of the markers, as plotly has it."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(x),
        "y": list(y),
        "marker": {"size": 9, "color": colour, **style},
        **axes(panel),
    }


def error(points: Sequence[Figures], key: str, colour: str) -> Part:
    """Asymmetric error bars of points from their intervals; an end that nobody knows has none."""
    known = [(point[key], *(point[f"{key}_ci95"] or (None, None))) for point in points]
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if high is None else high - value for value, _, high in known],
        "arrayminus": [0 if low is None else value - low for value, low, _ in known],
        "color": colour,
        "thickness": 1,
        "width": 3,
    }


def in_words(figure: Figure) -> str:
    """The series of a figure for those who do not see it: a point, a curve's ends, a distribution's peak."""
    words = []
    for trace in figure["data"]:
        points = [(x, y) for x, y in zip(trace["x"], trace["y"], strict=True) if y is not None]
        if not points or trace.get("hoverinfo") == "skip":
            continue
        if trace.get("line", {}).get("shape") == "hvh":
            points = [max(points, key=lambda point: point[1])]
        ends = dict.fromkeys((points[0], points[-1]))
        axis = trace.get("yaxis", "y").replace("y", "yaxis")
        titled = next(figure["layout"][name] for name in (axis, "yaxis") if "title" in figure["layout"][name])
        where = " to ".join(f"{y:.4g} at {x}" for x, y in ends)
        words.append(f"{trace['name']}, {titled['title']['text']}: {where}")
    return "; ".join(words)


def as_rows(figure: Figure) -> list[Mapping[str, object]]:
    """The points of a figure, one a row."""
    return [
        {"series": trace["name"], "axis": trace.get("yaxis", "y"), "x": x, "y": y}
        for trace in figure["data"]
        for x, y in zip(trace["x"], trace["y"], strict=True)
    ]


def number(value: object) -> float | None:
    """A value that JSON and a plot can hold."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None
