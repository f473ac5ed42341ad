"""The plots of the report as plotly figures in plain data: traces and layout, colours by role.

A colour is the name of a role (`before`, `after`, `text`, `grid`); the page replaces it by the theme's value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lenrl.report.tables import before_after

BINS = 40
CURVES = (
    ("accuracy", "accuracy of the rollouts"),
    ("tokens_mean", "tokens"),
    ("reward", "reward"),
    ("truncated_share", "truncated share"),
)
MAX_POINTS = 600  # of a curve; longer ones are thinned, the page stays small

Figure = dict[str, Any]


def accuracy_tokens(entries: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Accuracy over tokens with 95 % intervals, before and after, a line each decoding."""
    traces = []
    for before, after in before_after(entries):
        if before["accuracy"] is None or after["accuracy"] is None:
            continue
        greedy = before["decoding"] == "greedy"
        both = (before, after)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": before["decoding"],
                "x": [entry["tokens_mean"] for entry in both],
                "y": [entry["accuracy"] for entry in both],
                "error_x": errors(both, "tokens_mean"),
                "error_y": errors(both, "accuracy"),
                "text": [f"before, {before['decoding']}", f"after, {before['decoding']}"],
                "hovertemplate": "%{text}<br>%{x:.1f} tokens, accuracy %{y:.1%}<extra></extra>",
                "marker": {
                    "size": 11,
                    "symbol": "diamond" if greedy else "circle",
                    "color": ["before", "after"],
                },
                "line": {"color": "text", "width": 1, "dash": "dot" if greedy else "solid"},
            }
        )
    if not traces:
        return None
    return {"data": traces, "layout": layout("tokens (mean)", "accuracy", tickformat=".0%")}


def length_histograms(tables: Sequence[tuple[str, Mapping[str, Sequence[Any]]]]) -> Figure | None:
    """Completions by tokens and verdict: one row of bars each of `before` and `after`.

    Args:
        tables: (role, columns with `tokens` and `verdict`).
    """
    tables = [(role, columns) for role, columns in tables if len(columns["tokens"])]
    if not tables:
        return None
    longest = max(max(columns["tokens"]) for _, columns in tables)
    edges = np.linspace(0, longest + 1, min(BINS, longest + 1) + 1)
    shape = layout("tokens", "completions")
    shape |= {"barmode": "stack", "grid": {"rows": len(tables), "columns": 1, "pattern": "independent"}}
    traces = []
    for row, (role, columns) in enumerate(tables):
        axis = "" if row == 0 else str(row + 1)
        shape[f"yaxis{axis}"] = {"title": {"text": role}, "rangemode": "tozero", "gridcolor": "grid"}
        shape[f"xaxis{axis}"] = {"range": [0, float(edges[-1])], "gridcolor": "grid"}
        for verdict, name, pattern in ((True, "correct", ""), (False, "wrong", "/"), (None, "unknown", "x")):
            pairs = zip(columns["tokens"], columns["verdict"], strict=True)
            lengths = [length for length, found in pairs if found is verdict]
            if not lengths:
                continue
            counts, _ = np.histogram(lengths, edges)
            traces.append(
                {
                    "type": "bar",
                    "name": f"{role}, {name}",
                    "x": ((edges[:-1] + edges[1:]) / 2).round(2).tolist(),
                    "y": counts.tolist(),
                    "width": float(edges[1]),
                    "marker": {"color": role, "pattern": {"shape": pattern}},
                    "xaxis": f"x{axis}",
                    "yaxis": f"y{axis}",
                    "hovertemplate": f"{name}: %{{y}} at about %{{x:.0f}} tokens<extra>{role}</extra>",
                }
            )
    shape[f"xaxis{'' if len(tables) == 1 else len(tables)}"]["title"] = {"text": "tokens"}
    return {"data": traces, "layout": shape}


def training_curves(metrics: Sequence[Mapping[str, Any]], dev: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Accuracy, tokens, reward and truncation over the optimizer steps; development problems as diamonds."""
    if not metrics:
        return None
    metrics = metrics[:: -(-len(metrics) // MAX_POINTS)]
    shape = layout("", "")
    shape |= {"grid": {"rows": 2, "columns": 2, "pattern": "independent"}, "showlegend": False}
    traces = []
    for number, (key, title) in enumerate(CURVES, start=1):
        axis = "" if number == 1 else str(number)
        shape[f"xaxis{axis}"] = {"title": {"text": "step"}, "gridcolor": "grid"}
        shape[f"yaxis{axis}"] = {"title": {"text": title}, "gridcolor": "grid"}
        shared = {"type": "scatter", "xaxis": f"x{axis}", "yaxis": f"y{axis}"}
        traces.append(
            shared
            | {
                "mode": "lines",
                "name": title,
                "x": [line.get("step") for line in metrics],
                "y": [line.get(key) for line in metrics],
                "line": {"color": "after"},
            }
        )
        measured = [(line["step"], line[name]) for line in dev for name in _dev_names(key) if name in line]
        if measured:
            traces.append(
                shared
                | {
                    "mode": "markers",
                    "name": f"{title}, development problems",
                    "x": [step for step, _ in measured],
                    "y": [value for _, value in measured],
                    "marker": {"symbol": "diamond", "size": 9, "color": "text"},
                }
            )
    return {"data": traces, "layout": shape}


def _dev_names(key: str) -> tuple[str, ...]:
    return ("tokens", "tokens_mean") if key == "tokens_mean" else () if key == "reward" else (key,)


def errors(entries: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    """Asymmetric error bars from the intervals; an open end has none."""
    ends = [entry[f"{key}_ci95"] for entry in entries]
    values = [entry[key] for entry in entries]
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if high is None else high - value for (_, high), value in zip(ends, values, strict=True)],
        "arrayminus": [
            0 if low is None else value - low for (low, _), value in zip(ends, values, strict=True)
        ],
        "color": "text",
        "thickness": 1,
    }


def layout(x: str, y: str, tickformat: str = "") -> dict[str, Any]:
    """What all plots share; x and y are the axes' titles."""
    return {
        "xaxis": {"title": {"text": x}, "rangemode": "tozero", "gridcolor": "grid"},
        "yaxis": {"title": {"text": y}, "tickformat": tickformat, "gridcolor": "grid"},
        "legend": {"orientation": "h", "y": 1.12},
        "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
        "font": {"color": "text"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }
