"""A comparison for papers: CSV, SVG and PNG."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput
from lenrl.report.compare import Compared
from lenrl.report.panels import Figure, Part, as_rows

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how one begins
ROLES = {"before": "#7a8794", "after": "#c2570c", "text": "#1c2530"}  # in pictures, on white
MARKS = {"diamond": "D", "square": "s", "cross": "P", "triangle-up": "^", "star": "*"}


def write(compared: Compared, folder: Path) -> list[Path]:
    """`table.csv`, and a CSV, an SVG and a PNG of every figure.

    Raises:
        BadInput: matplotlib, which draws them, is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "table.csv"]
    _csv(written[0], compared.header, [[cell.value for cell in row] for row in compared.rows()])
    for name, figure in compared.figures().items():
        rows = as_rows(figure)
        _csv(folder / f"{name}.csv", list(rows[0]), [list(row.values()) for row in rows])
        written += [folder / f"{name}.csv", *_pictures(figure, folder / name)]
    return written


def _csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([[_cell(value) for value in row] for row in [header, *rows]])


def _cell(value: object) -> object:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _pictures(figure: Figure, stem: Path) -> list[Path]:
    """The figure as SVG and PNG."""
    try:
        from matplotlib import rc_context
    except ImportError:
        raise BadInput("pictures need matplotlib: pip install 'lenrl[report]'") from None
    with rc_context({"text.parse_math": False}):  # a $ in a name is one
        return _drawn(figure, stem)


def _drawn(figure: Figure, stem: Path) -> list[Path]:
    """The figure's panels in two columns, drawn by matplotlib."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import ScalarFormatter

    layout = figure["layout"]
    panels = [key.removeprefix("yaxis") for key in layout if key.startswith("yaxis")]
    columns = layout.get("grid", {}).get("columns", 1)
    rows = -(-len(panels) // columns)
    canvas = Canvas(
        figsize=(9.2 / max(2, columns) * columns, (3.4, 2.2)[columns > 2] * rows), layout="constrained"
    )
    headings = {note["yref"].split()[0].removeprefix("y"): note["text"] for note in layout["annotations"]}
    all_axes: dict[str, Any] = {}
    for number, panel in enumerate(panels):
        like = all_axes.get("") if "matches" in layout[f"yaxis{panel}"] else None
        axes = all_axes[panel] = canvas.add_subplot(rows, columns, number + 1, sharex=like, sharey=like)
        axes.set_title(headings.get(panel, ""), fontsize=8, loc="left")
        axes.set_xlabel(layout[f"xaxis{panel}"].get("title", {}).get("text", ""))
        if layout[f"xaxis{panel}"].get("type") == "log":
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_ylabel(layout[f"yaxis{panel}"].get("title", {}).get("text", ""))
        axes.grid(alpha=0.3)
    for trace in figure["data"]:
        _draw(trace, all_axes[trace.get("yaxis", "y").removeprefix("y")])
    if layout.get("showlegend", True):
        found = [axes.get_legend_handles_labels() for axes in all_axes.values()]
        named = {
            label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)
        }
        place: Any = {"loc": "outside lower center", "ncols": 2, "fontsize": 7, "frameon": False}
        canvas.legend(list(named.values()), list(named), **place)
    paths = [stem.with_suffix(".svg"), stem.with_suffix(".png")]
    for path in paths:
        canvas.savefig(path, dpi=200)
    return paths


def _draw(trace: Part, axes: Any) -> None:
    """A trace on its panel."""
    style = trace.get("line") or trace["marker"]
    mark = MARKS.get(style.get("symbol", ""), "o")
    label = {"label": trace["name"]} if trace.get("showlegend", True) else {}
    if isinstance(style["color"], list):
        axes.scatter(
            trace["x"], trace["y"], s=16, marker=mark, c=[ROLES.get(c, c) for c in style["color"]], **label
        )
        return
    shared = {"color": ROLES.get(style["color"], style["color"]), **label}
    if trace["mode"] == "lines":
        dashes = {"solid": "-", "dot": ":", "dash": "--"}[style["dash"]]
        y = [float("nan") if value is None else value for value in trace["y"]]
        axes.plot(trace["x"], y, dashes, lw=1, **shared)
        return
    errors = {
        f"{side}err": [trace[f"error_{side}"]["arrayminus"], trace[f"error_{side}"]["array"]]
        for side in "xy"
        if f"error_{side}" in trace
    }
    axes.errorbar(trace["x"], trace["y"], fmt=mark, ms=4, lw=0.8, **shared, **errors)
