"""Entries as plots: plotly's plain data, drawn by the page, by matplotlib, and written as CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lenrl.measures import pareto_front
from lenrl.report.plots import MAX_POINTS, Figure, errors
from lenrl.report.plots import layout as plain_layout
from lenrl.report.sources import Entry, varied

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
SHOWN_AT_FIRST = 6  # runs; the others' curves are one click away in the legend
BINS = 24  # of lengths; lines of several models over one another need wide ones
MAX_OPTIONS = 6  # swept options whose effect is drawn


def layout(x: str, y: str, tickformat: str = "") -> dict[str, Any]:
    """Names of runs are long: the legend stands beside the plot."""
    return plain_layout(x, y, tickformat) | {"legend": {"x": 1.02, "y": 1}}


def all_figures(entries: Sequence[Entry]) -> dict[str, Figure]:
    """Every plot that the entries give, by its name."""
    found = {
        "front": front(entries),
        "lengths": lengths(entries),
        "curves": curves(entries),
        "effects": effects(entries),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def undominated(entries: Sequence[Entry]) -> list[Entry]:
    """Those that no other one beats in accuracy and in tokens, fewest tokens first."""
    tokens = [entry.figures["tokens_mean"] for entry in entries]
    on_front = pareto_front([entry.figures["accuracy"] for entry in entries], tokens)
    chosen = [entry for entry, best in zip(entries, on_front, strict=True) if best]
    return sorted(chosen, key=lambda entry: entry.figures["tokens_mean"])


def front(entries: Sequence[Entry]) -> Figure | None:
    """Accuracy over tokens with 95 % intervals; the line joins what nothing beats in both, a line a decoding."""
    known = [entry for entry in entries if entry.figures["accuracy"] is not None]
    traces: list[dict[str, Any]] = []
    for number, entry in enumerate(known):
        figures = [entry.figures]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": _label(entry),
                "x": [entry.figures["tokens_mean"]],
                "y": [entry.figures["accuracy"]],
                "error_x": errors(figures, "tokens_mean"),
                "error_y": errors(figures, "accuracy"),
                "hovertemplate": "%{x:.1f} tokens, accuracy %{y:.1%}",
                "marker": {
                    "size": 10,
                    "symbol": "diamond" if entry.decoding == "greedy" else "circle",
                    "color": "before" if entry.base else COLOURS[number % len(COLOURS)],
                },
            }
        )
    for decoding in dict.fromkeys(entry.decoding for entry in known):
        best = undominated([entry for entry in known if entry.decoding == decoding])
        if len(best) > 1:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": f"front, {decoding}",
                    "x": [entry.figures["tokens_mean"] for entry in best],
                    "y": [entry.figures["accuracy"] for entry in best],
                    "line": {"color": "text", "width": 1, "dash": "dot"},
                    "hoverinfo": "skip",
                }
            )
    return (
        {"data": traces, "layout": layout("tokens (mean)", "accuracy", tickformat=".0%")} if traces else None
    )


def lengths(entries: Sequence[Entry]) -> Figure | None:
    """Share of completions by tokens: right ones solid, wrong ones dotted."""
    known = [entry for entry in entries if entry.columns]
    if not known:
        return None
    longest = max(max(entry.columns["tokens"]) for entry in known)
    edges = np.linspace(0, longest + 1, min(BINS, longest + 1) + 1)
    traces = []
    for number, entry in enumerate(known):
        for verdict, name, dash in ((True, "right", "solid"), (False, "wrong", "dot")):
            rows = zip(entry.columns["tokens"], entry.columns["verdict"], strict=True)
            counts, _ = np.histogram([length for length, found in rows if found is verdict], edges)
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": f"{_label(entry)}, {name}",
                    "x": ((edges[:-1] + edges[1:]) / 2).round(2).tolist(),
                    "y": (counts / len(entry.columns["tokens"])).round(5).tolist(),
                    "line": {"color": COLOURS[number % len(COLOURS)], "dash": dash, "shape": "hvh"},
                    "visible": True if number < SHOWN_AT_FIRST else "legendonly",
                }
            )
    return {"data": traces, "layout": layout("tokens", "share of completions", tickformat=".0%")}


def curves(entries: Sequence[Entry]) -> Figure | None:
    """Accuracy and tokens of the rollouts over the optimizer steps."""
    runs = list({entry.name: entry for entry in entries if entry.metrics}.values())
    if not runs:
        return None
    shape = layout("step", "accuracy of the rollouts")
    shape |= {"grid": {"rows": 1, "columns": 2, "pattern": "independent"}}
    shape["xaxis2"] = {"title": {"text": "step"}, "gridcolor": "grid"}
    shape["yaxis2"] = {"title": {"text": "tokens"}, "rangemode": "tozero", "gridcolor": "grid"}
    traces = []
    for number, entry in enumerate(runs):
        lines = entry.metrics[:: -(-len(entry.metrics) // MAX_POINTS)]
        for axis, key in (("", "accuracy"), ("2", "tokens_mean")):
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": entry.name,
                    "legendgroup": entry.name,
                    "showlegend": not axis,
                    "xaxis": f"x{axis}",
                    "yaxis": f"y{axis}",
                    "x": [line.get("step") for line in lines],
                    "y": [line.get(key) for line in lines],
                    "line": {"color": COLOURS[number % len(COLOURS)], "width": 1.5},
                    "visible": True if number < SHOWN_AT_FIRST else "legendonly",
                }
            )
    return {"data": traces, "layout": shape}


def effects(entries: Sequence[Entry]) -> Figure | None:
    """Accuracy and tokens by each option that all runs have and that differs between them; a row an option."""
    runs = [entry for entry in entries if entry.settings and entry.figures["accuracy"] is not None]
    shared = [key for key in varied(runs) if all(key in entry.settings for entry in runs)]
    keys = ([key for key in shared if key != "seed"] or shared)[:MAX_OPTIONS]
    if not keys:
        return None
    shape = layout("", "")
    shape |= {"grid": {"rows": len(keys), "columns": 2, "pattern": "independent"}, "showlegend": False}
    shape["height"] = 120 + 240 * len(keys)  # pixels
    traces = []
    for row, key in enumerate(keys):
        for column, (what, title) in enumerate((("accuracy", "accuracy"), ("tokens_mean", "tokens"))):
            number = 2 * row + column + 1
            axis = "" if number == 1 else str(number)
            shape[f"xaxis{axis}"] = {"title": {"text": key}, "type": "category", "gridcolor": "grid"}
            shape[f"yaxis{axis}"] = {"title": {"text": title}, "gridcolor": "grid"}
            values = [short_value(entry.settings.get(key)) for entry in runs]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": f"{title} by {key}",
                    "x": values,
                    "y": [entry.figures[what] for entry in runs],
                    "text": [_label(entry) for entry in runs],
                    "marker": {"size": 9, "color": "after"},
                    "xaxis": f"x{axis}",
                    "yaxis": f"y{axis}",
                    "hovertemplate": "%{text}<br>%{x}: %{y:.4g}<extra></extra>",
                }
            )
    return {"data": traces, "layout": shape}


def _label(entry: Entry) -> str:
    return f"{entry.name}, {entry.decoding}"


def short_value(value: Any) -> str:
    """A setting, short enough for an axis."""
    shown = value if isinstance(value, str) else json.dumps(value)
    return shown if len(shown) <= 24 else f"{shown[:23]}…"


def as_rows(figure: Figure) -> list[Mapping[str, Any]]:
    """What a figure shows, a point a row."""
    return [
        {"series": trace["name"], "axis": trace.get("yaxis", "y"), "x": x, "y": y}
        for trace in figure["data"]
        for x, y in zip(trace["x"], trace["y"], strict=True)
    ]
