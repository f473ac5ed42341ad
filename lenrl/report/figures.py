"""Figures as plotly's plain data: drawn by the page's script and by matplotlib, and written as CSV.

A colour is a hex value or a role (`before`, `after`, `text`, `grid`), for which the page puts the theme's colour.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lenrl.measures import pareto_front
from lenrl.measures.format import Figures
from lenrl.report.sources import Entry, Training, varied

Figure = dict[str, Any]
Part = dict[str, Any]  # of a figure: a trace, its points, a layout

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
SHOWN_AT_FIRST = 6  # runs; the others' curves are one click away in the legend
BINS = 24  # of lengths; lines of several models over one another need wide ones
MAX_OPTIONS = 6  # swept options whose effect is drawn
MAX_POINTS = 600  # of a curve; longer ones are thinned, the page stays small
PERCENT = {"tickformat": ".0%"}
VERDICTS = ((True, "right", "solid"), (False, "wrong", "dot"), (None, "unknown", "dash"))
CURVES = {  # key in metrics.jsonl: (title, key in dev.jsonl)
    "accuracy": ("accuracy", "eval_accuracy"),
    "tokens_mean": ("tokens", "eval_tokens"),
    "reward": ("reward", ""),
    "truncated_share": ("truncated share", "eval_truncated_share"),
}


def all_figures(entries: Sequence[Entry], trainings: Mapping[str, Training]) -> dict[str, Figure]:
    """Every figure that there is something to draw of, by its name.

    Args:
        entries: what was measured.
        trainings: what was trained, by the name of its entries.
    """
    names = dict.fromkeys([*(entry.name for entry in entries), *trainings])
    palette = colours(list(names), {entry.name for entry in entries if entry.base})
    drawn = {
        "front": front(entries, palette),
        "lengths": lengths(entries, palette),
        "curves": curves(trainings, palette),
        "effects": effects(entries),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def colours(names: Sequence[str], bases: Iterable[str] = ()) -> dict[str, str]:
    """A colour for each model: of two, the first is `before` and the second `after`.

    >>> colours(["base", "run"]), colours(["base", "a", "b"], ["base"])["base"]
    ({'base': 'before', 'run': 'after'}, 'before')
    """
    if len(names) <= 2:
        return dict(zip(names, ("before", "after")[-len(names) :], strict=False))
    return {
        name: "before" if name in bases else COLOURS[number % len(COLOURS)]
        for number, name in enumerate(names)
    }


def front(entries: Sequence[Entry], palette: Mapping[str, str]) -> Figure | None:
    """Accuracy over tokens with 95 % intervals, joined a decoding: two models, else those on the Pareto front."""
    known = [entry for entry in entries if entry.figures["accuracy"] is not None]
    if not known:
        return None
    traces: list[Part] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": _label(entry),
            "x": [entry.figures["tokens_mean"]],
            "y": [entry.figures["accuracy"]],
            "error_x": _error(entry.figures, "tokens_mean"),
            "error_y": _error(entry.figures, "accuracy"),
            "hovertemplate": "%{x:.1f} tokens, accuracy %{y:.1%}",
            "marker": {
                "size": 11,
                "symbol": "diamond" if entry.decoding == "greedy" else "circle",
                "color": palette[entry.name],
            },
        }
        for entry in known
    ]
    for decoding in dict.fromkeys(entry.decoding for entry in known):
        same = [entry for entry in known if entry.decoding == decoding]
        joined = same if len(palette) == 2 else undominated(same)
        if len(joined) > 1:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": f"{'change' if len(palette) == 2 else 'front'}, {decoding}",
                    "x": [entry.figures["tokens_mean"] for entry in joined],
                    "y": [entry.figures["accuracy"] for entry in joined],
                    "line": {"color": "text", "width": 1, "dash": "dot"},
                    "hoverinfo": "skip",
                    "showlegend": len(palette) > 2,
                }
            )
    return {
        "data": traces,
        "layout": _layout([("tokens (mean)", "accuracy", PERCENT | {"rangemode": "normal"})]),
    }


def undominated(entries: Sequence[Entry]) -> list[Entry]:
    """Those that no other one beats in accuracy and in tokens, fewest tokens first."""
    tokens = [entry.figures["tokens_mean"] for entry in entries]
    on_front = pareto_front([entry.figures["accuracy"] for entry in entries], tokens)
    chosen = [entry for entry, best in zip(entries, on_front, strict=True) if best]
    return sorted(chosen, key=lambda entry: entry.figures["tokens_mean"])


def lengths(entries: Sequence[Entry], palette: Mapping[str, str]) -> Figure | None:
    """Share of completions by tokens and verdict, a step line each; the first decoding's are shown at first."""
    known = [entry for entry in entries if entry.columns.get("tokens")]
    if not known:
        return None
    longest = max(max(entry.columns["tokens"]) for entry in known)
    edges = np.linspace(0, longest + 1, min(BINS, longest + 1) + 1)
    traces = []
    at_first = list(palette)[:SHOWN_AT_FIRST]
    for entry in known:
        rows = list(zip(entry.columns["tokens"], entry.columns["verdict"], strict=True))
        visible = entry.name in at_first and entry.decoding == known[0].decoding
        for verdict, name, dash in VERDICTS:
            counted = [length for length, judged in rows if judged is verdict]
            if verdict is None and not counted:
                continue
            counts, _ = np.histogram(counted, edges)
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": f"{_label(entry)}, {name}",
                    "x": ((edges[:-1] + edges[1:]) / 2).round(2).tolist(),
                    "y": (counts / len(rows)).round(5).tolist(),
                    "line": {"color": palette[entry.name], "dash": dash, "shape": "hvh"},
                    "visible": True if visible else "legendonly",
                }
            )
    return {"data": traces, "layout": _layout([("tokens", "share of completions", PERCENT)])}


def curves(trainings: Mapping[str, Training], palette: Mapping[str, str]) -> Figure | None:
    """Rollouts over the optimizer steps, a panel a measure; the development problems as diamonds."""
    runs = {name: training for name, training in trainings.items() if training.metrics}
    lines = [line for training in runs.values() for line in training.metrics]
    keys = [key for key in CURVES if any(_number(line.get(key)) is not None for line in lines)]
    if not keys:
        return None
    traces = []
    for number, (name, training) in enumerate(runs.items()):
        thinned = training.metrics[:: -(-len(training.metrics) // MAX_POINTS)]
        shared = {
            "type": "scatter",
            "legendgroup": name,
            "visible": True if number < SHOWN_AT_FIRST else "legendonly",
        }
        for panel, key in enumerate(keys):
            place = shared | _axes(panel) | {"showlegend": panel == 0}
            style = {"mode": "lines", "line": {"color": palette[name], "width": 1.5}}
            traces.append(place | style | {"name": name} | _points(thinned, key))
            measured = [line for line in training.dev if _number(line.get(CURVES[key][1])) is not None]
            style = {"mode": "markers", "marker": {"symbol": "diamond", "size": 9, "color": palette[name]}}
            if measured:
                name_ = f"{name}, development problems"
                traces.append(place | style | {"name": name_} | _points(measured, CURVES[key][1]))
    return {"data": traces, "layout": _layout([("step", CURVES[key][0], {}) for key in keys], zero=False)}


def _points(lines: Sequence[Mapping[str, object]], key: str) -> Part:
    return {
        "x": [_number(line.get("step")) for line in lines],
        "y": [_number(line.get(key)) for line in lines],
    }


def effects(entries: Sequence[Entry]) -> Figure | None:
    """Accuracy and tokens by each option that all runs have and that differs between them; a row an option."""
    runs = [entry for entry in entries if entry.settings and entry.figures["accuracy"] is not None]
    shared = [key for key in varied(runs) if all(key in entry.settings for entry in runs)]
    keys = ([key for key in shared if key != "seed"] or shared)[:MAX_OPTIONS]
    panels = [
        (key, measure, title)
        for key in keys
        for measure, title in (("accuracy", "accuracy"), ("tokens_mean", "tokens"))
    ]
    if not panels:
        return None
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{title} by {key}",
            "x": [short_value(entry.settings.get(key)) for entry in runs],
            "y": [entry.figures[measure] for entry in runs],
            "text": [_label(entry) for entry in runs],
            "marker": {"size": 9, "color": "after"},
            "hovertemplate": "%{text}<br>%{x}: %{y:.4g}<extra></extra>",
            **_axes(number),
        }
        for number, (key, measure, title) in enumerate(panels)
    ]
    layout = _layout([(key, title, {}) for key, _, title in panels], zero=False)
    for number in range(len(panels)):
        layout[_axes(number)["xaxis"].replace("x", "xaxis")]["type"] = "category"
    return {"data": traces, "layout": layout | {"showlegend": False}}


def short_value(value: object) -> str:
    """A setting, short enough for an axis."""
    shown = value if isinstance(value, str) else json.dumps(value, default=str)
    return shown if len(shown) <= 24 else f"{shown[:23]}…"


def in_words(figure: Figure) -> str:
    """The series of a figure for those who do not see it: a point, a curve's ends, a distribution's peak."""
    words = []
    for trace in figure["data"]:
        points = [(x, y) for x, y in zip(trace["x"], trace["y"], strict=True) if y is not None]
        if not points or trace.get("visible", True) is not True or trace.get("hoverinfo") == "skip":
            continue
        if trace.get("line", {}).get("shape") == "hvh":
            points = [max(points, key=lambda point: point[1])]
        ends = dict.fromkeys((points[0], points[-1]))
        panel = trace.get("yaxis", "y").replace("y", "yaxis")
        title = figure["layout"][panel]["title"]["text"]
        words.append(f"{trace['name']}, {title}: {' to '.join(f'{y:.4g} at {x}' for x, y in ends)}")
    return "; ".join(words)


def as_rows(figure: Figure) -> list[Mapping[str, object]]:
    """The points of a figure, one a row."""
    return [
        {"series": trace["name"], "axis": trace.get("yaxis", "y"), "x": x, "y": y}
        for trace in figure["data"]
        for x, y in zip(trace["x"], trace["y"], strict=True)
    ]


def _label(entry: Entry) -> str:
    return f"{entry.name}, {entry.decoding}"


def _number(value: object) -> float | None:
    """A value that JSON and a plot can hold."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _error(figures: Figures, key: str) -> Part:
    """Asymmetric error bars from the interval; an open end has none."""
    value, (low, high) = figures[key], figures[f"{key}_ci95"]
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if high is None else high - value],
        "arrayminus": [0 if low is None else value - low],
        "color": "text",
        "thickness": 1,
    }


def _axes(panel: int) -> dict[str, str]:
    """The axes of a panel, counted from 0, in plotly's names."""
    number = "" if panel == 0 else str(panel + 1)
    return {"xaxis": f"x{number}", "yaxis": f"y{number}"}


def _layout(panels: Sequence[tuple[str, str, Part]], *, zero: bool = True) -> Part:
    """Panels in two columns, each with the titles of its axes and more of its y axis; axes from zero, or fitted."""
    rows = math.ceil(len(panels) / 2)
    layout: Part = {
        "legend": {"x": 1.02, "y": 1},  # names of runs are long: it stands next to the plot
        "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
        "font": {"color": "text"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "height": 420 if rows == 1 else 120 + 240 * rows,  # pixels
    }
    if len(panels) > 1:
        layout["grid"] = {"rows": rows, "columns": 2, "pattern": "independent"}
    for number, (x, y, more) in enumerate(panels):
        mode = {"rangemode": "tozero" if zero else "normal", "gridcolor": "grid", "zerolinecolor": "grid"}
        for axis, title, extra in (("x", x, {}), ("y", y, more)):
            name = _axes(number)[f"{axis}axis"].replace(axis, f"{axis}axis")
            layout[name] = {"title": {"text": title}, "automargin": True, **mode, **extra}
    return layout
