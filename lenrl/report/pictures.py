"""A comparison for papers: CSV, SVG and PNG."""

import csv
from collections.abc import Sequence
from pathlib import Path

from lenrl.errors import BadInput
from lenrl.report import figures
from lenrl.report.compare import HEADER, Compared
from lenrl.report.figures import Figure

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how one begins
ROLES = {"before": "#7a8794", "after": "#c2570c", "text": "#1c2530"}  # in pictures, on white


def write(compared: Compared, folder: Path) -> list[Path]:
    """`table.csv`, and a CSV, an SVG and a PNG of every figure.

    Raises:
        BadInput: matplotlib, which draws them, is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "table.csv"]
    _csv(written[0], HEADER, [[cell.value for cell in row] for row in compared.rows()])
    for name, figure in compared.figures().items():
        rows = figures.as_rows(figure)
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

    layout = figure["layout"]
    panels = [key.removeprefix("yaxis") for key in layout if key.startswith("yaxis")]
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    canvas = Canvas(figsize=(4.6 * columns, 3.4 * rows), layout="constrained")
    all_axes = {}
    for number, panel in enumerate(panels):
        axes = all_axes[panel] = canvas.add_subplot(rows, columns, number + 1)
        axes.set_xlabel(layout[f"xaxis{panel}"]["title"]["text"])
        axes.set_ylabel(layout[f"yaxis{panel}"]["title"]["text"])
        axes.grid(alpha=0.3)
    for trace in figure["data"]:
        axes = all_axes[trace.get("yaxis", "y").removeprefix("y")]
        style = trace.get("line") or trace["marker"]
        shared = {"color": ROLES.get(style["color"], style["color"]), "label": trace["name"]}
        if trace["mode"] == "lines":
            dashes = {"solid": "-", "dot": ":", "dash": "--"}[style.get("dash", "solid")]
            y = [float("nan") if value is None else value for value in trace["y"]]
            axes.plot(trace["x"], y, dashes, lw=1, **shared)
        else:
            errors = {
                f"{side}err": [trace[f"error_{side}"]["arrayminus"], trace[f"error_{side}"]["array"]]
                for side in "xy"
                if f"error_{side}" in trace
            }
            mark = "D" if style.get("symbol") == "diamond" else "o"
            axes.errorbar(trace["x"], trace["y"], fmt=mark, ms=4, lw=0.8, **shared, **errors)
    if layout.get("showlegend", True):
        handles, labels = next(iter(all_axes.values())).get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    paths = [stem.with_suffix(".svg"), stem.with_suffix(".png")]
    for path in paths:
        canvas.savefig(path, dpi=200)
    return paths
