"""The comparison as one HTML file, as a table on the terminal, as CSV and pictures for papers."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lenrl.errors import BadInput
from lenrl.measures import Comparison
from lenrl.measures.format import change, points, share, tokens, with_interval
from lenrl.report import figures, page, reader
from lenrl.report.plots import Figure
from lenrl.report.run_page import plotly_js_or_none
from lenrl.report.sources import Entry, otherwise_measured, paired, varied

TITLES = {
    "front": ("Accuracy and tokens", "Accuracy over tokens of every model, with intervals"),
    "lengths": ("Lengths by verdict", "Share of completions by length, right ones solid, wrong ones dotted"),
    "curves": ("Training", "Accuracy and tokens of the rollouts over the optimizer steps"),
    "effects": ("What the settings do", "Accuracy and tokens by each setting that differs"),
}
HEADER = (
    "model",
    "decoding",
    "accuracy",
    "tokens",
    "if right",
    "if wrong",
    "truncated",
    "accuracy diff.",
    "tokens diff.",
)


class Compared:
    """Entries, and each one's difference to the first of its decoding."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = list(entries)
        bases: dict[str, Entry] = {}
        for entry in self.entries:
            bases.setdefault(entry.decoding, entry)
        self.pairs: dict[int, Comparison | None] = {}
        self.warnings: list[str] = []
        for number, entry in enumerate(self.entries):
            base = bases[entry.decoding]
            self.pairs[number] = paired(base, entry)
            unlike = otherwise_measured(base, entry)
            if unlike:
                self.warnings.append(
                    f"{entry.name} ({entry.decoding}) was not measured like {base.name}: {'; '.join(unlike[:4])}"
                    + (f" and {len(unlike) - 4} more" if len(unlike) > 4 else "")
                )

    def rows(self) -> list[list[tuple[str, float | str | None]]]:
        """What is shown and what it is sorted by, a row an entry, in the order of `HEADER`."""
        found = []
        for number, entry in enumerate(self.entries):
            f, pair = entry.figures, self.pairs[number]
            row: list[tuple[str, float | str | None]] = [
                (entry.name, entry.name),
                (f["decoding"], f["decoding"]),
                (with_interval(f["accuracy"], f["accuracy_ci95"], share), f["accuracy"]),
                (with_interval(f["tokens_mean"], f["tokens_mean_ci95"], tokens), f["tokens_mean"]),
                (tokens(f["tokens_correct"]), f["tokens_correct"]),
                (tokens(f["tokens_wrong"]), f["tokens_wrong"]),
                (share(f["truncated_share"]), f["truncated_share"]),
            ]
            gain = pair.accuracy_diff if pair else None
            ratio = pair.tokens_ratio if pair else None
            row += [
                ("-", None) if e is None else (with_interval(e.value, (e.low, e.high), write), e.value)
                for e, write in ((gain, points), (ratio, change))
            ]
            found.append(row)
        return found

    def table(self) -> Table:
        """For the terminal."""
        title = "Differences (accuracy in points) to the first model, problem by problem; 95 % intervals"
        shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for name in ("model", "accuracy", "tokens", "cut", "accuracy", "tokens"):
            shown.add_column(name, overflow="fold", justify="left" if name == "model" else "right")
        for name, decoding, accuracy, length, _, _, truncated, gain, ratio in self.rows():
            cells = (cell.replace(" [", "\n[") for cell, _ in (accuracy, length, truncated, gain, ratio))
            shown.add_row(Text(f"{name[0]}\n{decoding[0]}"), *(Text(cell) for cell in cells))
        return shown


def write(compared: Compared, path: Path) -> Path:
    """Write the page; whole or not at all."""
    entries = compared.entries
    drawn = figures.all_figures(entries)
    plotly_js = plotly_js_or_none()
    answers = reader.section(entries)
    names = ", ".join(dict.fromkeys(entry.name for entry in entries if not entry.base))
    title = "Runs compared"
    sections = [
        f"<h1>{page.text(title)}</h1>",
        page.paragraph(f"{len(entries)} evaluations: {names}. 95 % intervals over problems."),
        *(page.paragraph(f"Not alike: {warning}") for warning in compared.warnings),
        page.section("Figures", page.sortable(HEADER, compared.rows())),
        *(
            [
                page.section(
                    TITLES[name][0], page.plot(name, TITLES[name][1], drawn[name]["layout"].get("height"))
                )
                for name in drawn
            ]
            if plotly_js is not None
            else [page.paragraph("No plots: they need plotly. Install it with: pip install 'lenrl[report]'")]
        ),
        *([answers[0]] if answers else []),
        *_settings(entries),
    ]
    data = (
        f'<script type="application/json" id="answers">{page.script_data(answers[1])}</script>'
        if answers
        else ""
    )
    scripts = [page.THEME, page.SORT, *([reader.SCRIPT] if answers else [])]
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(page.page(title, [*sections, data], drawn, plotly_js, scripts), encoding="utf-8")
    draft.replace(path)
    return path


def _settings(entries: Sequence[Entry]) -> list[str]:
    """What differs between the runs."""
    runs = list({entry.name: entry for entry in entries if entry.settings}.values())
    keys = varied(runs)
    if not keys:
        return []
    rows = [
        [key, *(figures.short_value(e.settings[key]) if key in e.settings else "" for e in runs)]
        for key in keys
    ]
    return [page.section("Settings that differ", page.table(["", *(entry.name for entry in runs)], rows))]


def write_files(compared: Compared, folder: Path) -> list[Path]:
    """`table.csv`, and a CSV, an SVG and a PNG of every figure.

    Raises:
        BadInput: matplotlib, which draws them, is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "table.csv"]
    lines = [[by if by is not None else "" for _, by in row] for row in compared.rows()]
    _csv(written[0], HEADER, lines)
    for name, figure in figures.all_figures(compared.entries).items():
        points_ = figures.as_rows(figure)
        _csv(folder / f"{name}.csv", list(points_[0]), [list(row.values()) for row in points_])
        written += [folder / f"{name}.csv", *_pictures(figure, folder / name)]
    return written


def _csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([header, *rows])


def _pictures(figure: Figure, stem: Path) -> list[Path]:
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        raise BadInput("pictures need matplotlib: pip install 'lenrl[report]'") from None
    shape: Mapping[str, Any] = figure["layout"]
    axes_names = [key.removeprefix("yaxis") for key in shape if key.startswith("yaxis")]
    columns = min(2, len(axes_names))
    rows = -(-len(axes_names) // columns)
    canvas = Canvas(figsize=(4.6 * columns, 3.4 * rows), layout="constrained")
    roles = {"before": "#7a8794", "after": "#c2570c", "text": "#1c2530"}
    places = {}
    for number, name in enumerate(axes_names):
        axes = places[name] = canvas.add_subplot(rows, columns, number + 1)
        axes.set_xlabel(shape[f"xaxis{name}"].get("title", {}).get("text", ""))
        axes.set_ylabel(shape[f"yaxis{name}"].get("title", {}).get("text", ""))
        axes.grid(alpha=0.3)
    for trace in figure["data"]:
        axes = places[trace.get("yaxis", "y").removeprefix("y")]
        style = trace.get("line") or trace["marker"]
        colour = roles.get(style["color"], style["color"])
        if trace["mode"] == "lines":
            dashes = {"solid": "-", "dot": ":"}[style.get("dash", "solid")]
            drawn = [float("nan") if y is None else y for y in trace["y"]]
            axes.plot(trace["x"], drawn, dashes, color=colour, lw=1, label=trace["name"])
        else:
            spans = {
                f"{side}err": [trace[f"error_{side}"]["arrayminus"], trace[f"error_{side}"]["array"]]
                for side in "xy"
                if f"error_{side}" in trace
            }
            axes.errorbar(
                trace["x"], trace["y"], fmt="o", ms=4, lw=0.8, color=colour, label=trace["name"], **spans
            )
    if shape.get("showlegend", True):
        handles, labels = next(iter(places.values())).get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    paths = [stem.with_suffix(".svg"), stem.with_suffix(".png")]
    for path in paths:
        canvas.savefig(path, dpi=200)
    return paths
