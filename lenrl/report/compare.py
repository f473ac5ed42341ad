"""Models side by side: differences, headline, and the tables of the page."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from lenrl.measures import Comparison
from lenrl.measures.format import Figures, change, estimate, figure, points, share, tokens, with_interval
from lenrl.report import conditions, figures, leads
from lenrl.report.cascades import cascade_of
from lenrl.report.entries import Entry, Training, paired, varied
from lenrl.report.panels import Figure
from lenrl.report.standings import standings
from lenrl.report.tables import Cell, decoding_name

MEASURED = (
    "accuracy",
    "tokens",
    "accuracy diff.",
    "tokens diff.",
    "p95",
    "if right",
    "if wrong",
    "truncated",
)


class Compared:
    """Entries, and each one's difference to its own base: the model that its run began with, else the first.

    Args:
        unmeasured: trainings whose models were not, by their names.
    """

    def __init__(self, entries: Sequence[Entry], unmeasured: Mapping[str, Training] | None = None) -> None:
        self.entries = _ordered(entries)
        self.trainings = {e.name: e.training for e in self.entries if e.training} | dict(unmeasured or {})
        self.bases = [self._base(entry) for entry in self.entries]
        self.pairs = {n: paired(base, self.entries[n]) if base else None for n, base in enumerate(self.bases)}
        swept = dict.fromkeys(key for entry in self.entries for key in entry.swept)
        both = list(zip(self.entries, self.bases, strict=True))
        self.cascades = [c for entry, base in both if base and (c := cascade_of(entry, base))]
        self.swept = sorted(swept, key=lambda key: key == "seed")
        self.header = ("model", "decoding", *self.swept, *MEASURED)
        own = [(entry, base) for entry, base in both if base and not entry.control]
        self.standings, unranked = standings(own)
        first = {entry.decoding: entry for entry, _ in reversed(own)}
        like = [(entry, first[entry.decoding]) for entry, _ in own]
        self.warnings = [*conditions.warnings(own), *conditions.warnings(like), *unranked]

    def _base(self, entry: Entry) -> Entry | None:
        """The model that an entry is compared with; None: it is such a one itself."""
        same = [other for other in self.entries if other.decoding == entry.decoding]
        own = next((other for other in same if other.key == entry.against), None)
        return None if entry.base else own or (same[0] if same[0] is not entry else None)

    @property
    def two(self) -> bool:
        """Two models are compared, before and after."""
        return len({entry.name for entry in self.entries if not entry.control}) == 2

    def figures(self) -> dict[str, Figure]:
        return figures.all_figures(self.entries, self.bases, self.trainings, self.cascades)

    def rows(self) -> list[list[Cell]]:
        """The table: a row an entry, in the order of `header`."""
        return [self._row(number) for number in range(len(self.entries))]

    def tables(self) -> dict[str, list[list[Cell]]]:
        """The rows of each decoding, without its column, with bars of their intervals."""
        found: dict[str, list[list[Cell]]] = {}
        for entry, row in zip(self.entries, self.rows(), strict=True):
            found.setdefault(decoding_name(entry.figures), []).append([row[0], *row[2:]])
        return {name: _barred(rows) for name, rows in found.items()}

    def _row(self, number: int) -> list[Cell]:
        entry, pair = self.entries[number], self.pairs[number]
        f = entry.figures
        mark = next((s.mark(entry) for s in self.standings if s.decoding == entry.decoding), "")
        row = [Cell(entry.name, entry.name, mark=mark), Cell(decoding_name(f), f["decoding"])]
        row += [Cell(entry.swept.get(key, ""), entry.swept.get(key)) for key in self.swept]
        for key, write in (("accuracy", share), ("tokens_mean", tokens)):
            row.append(Cell(figure(f, key, write), f[key], f[f"{key}_ci95"]))
        gain, ratio = (pair.accuracy_diff, pair.tokens_ratio) if pair else (None, None)
        for difference, write in ((gain, points), (ratio, change)):
            row.append(Cell(estimate(difference, write), difference and difference.value))
        row += [Cell(tokens(f[key]), f[key]) for key in ("tokens_p95", "tokens_correct", "tokens_wrong")]
        return [*row, Cell(share(f["truncated_share"]), f["truncated_share"])]

    def cards(self) -> list[dict[str, str | list[str]]]:
        """The headline of two models: accuracy and tokens before and after, and their difference, a decoding."""
        cards: list[dict[str, str | list[str]]] = []
        for number, entry in enumerate(self.entries if self.two else []):
            base, pair = self.bases[number], self.pairs[number]
            if base is None or entry.control:
                continue
            both = (base.figures, entry.figures)
            gain = pair.accuracy_diff if pair else None
            name, accuracy = decoding_name(entry.figures), [share(f["accuracy"]) for f in both]
            note = f"{estimate(gain, points)} points" if gain else ""
            cards.append({"label": f"accuracy, {name}", "both": accuracy, "note": note})
            length = [tokens(f["tokens_mean"]) for f in both]
            cards.append({"label": f"tokens, {name}", "both": length, "note": _saved(both, pair)})
        return cards

    @cached_property
    def leads(self) -> list[str]:
        """`over_controls` of each model whose base was controlled, in a sentence."""
        return leads.leads(self.entries, self.bases)

    def lead(self) -> str:
        """The measured models, problems and base in a sentence."""
        names = list(dict.fromkeys(e.name for e, base in zip(self.entries, self.bases, strict=True) if base))
        names = names or list(dict.fromkeys(entry.name for entry in self.entries))
        measured = {(f["prompts"], f["split"], f["task"]) for f in (entry.figures for entry in self.entries)}
        prompts, split, task = min(measured, key=str)
        problems = f" on {prompts} {split} problems of {task}" if len(measured) == 1 else ""
        bases = list(dict.fromkeys(base.name for base in self.bases if base))
        who = names[0] if len(names) == 1 else f"{len(names)} models"
        against = (
            f", against {bases[0]}" if len(bases) == 1 else ", each against its own base" if bases else ""
        )
        return f"{who}{problems}{against}. 95 % intervals over problems."

    def breakdowns(self) -> list[dict[str, object]]:
        """Accuracy and tokens by part of a mix and by difficulty, as far as there are any."""
        kinds = {"part": "parts", "difficulty": "difficulties"}
        tables = [(kind, name, self._breakdown(f"by_{kind}")) for kind, name in kinds.items()]
        return [{"kind": kind, "id": name, **table} for kind, name, table in tables if table]

    def _breakdown(self, key: str) -> dict[str, object] | None:
        """Accuracy and tokens a part or difficulty, of each entry of the first decoding; a row a model."""
        first = self.entries[0].decoding if self.entries else None
        entries = [e for e in self.entries if e.decoding == first and e.figures.get(key)]
        if not entries:
            return None
        tables = [entry.figures[key] for entry in entries]
        grades = {grade: found for table in tables for grade, found in table.items()}
        rows = []
        for entry, table in zip(entries, tables, strict=True):
            found = [table.get(grade) for grade in grades]
            cells = [(share(f["accuracy"]), tokens(f["tokens_mean"])) if f else ("-", "-") for f in found]
            rows.append([entry.name, *(cell for pair in cells for cell in pair)])
        heads = [f"{grade}, {found['prompts']} problems" for grade, found in grades.items()]
        return {"decoding": entries[0].decoding, "grades": heads, "rows": rows}

    def settings(self) -> dict[str, object]:
        """Settings that differ, a row a run; the recipes as they were written, the first evaluation's fingerprint."""
        runs = list({entry.name: entry for entry in self.entries if entry.settings}.values())
        keys = varied(runs)
        rows = []
        for entry in runs:
            values = [
                figures.short_value(entry.settings[key]) if key in entry.settings else "" for key in keys
            ]
            lines = entry.training.metrics if entry.training else ()
            steps = lines[-1].get("step", "") if lines else ""
            rows.append([entry.name, steps, *values, _near(entry.folder)])
        first = self.entries[0].figures["fingerprint"] if self.entries else None
        return {
            "keys": keys,
            "rows": rows,
            "recipes": {
                name: training.recipe for name, training in self.trainings.items() if training.recipe
            },
            "fingerprint": first and json.dumps(first, indent=2),
        }


def _ordered(entries: Sequence[Entry]) -> list[Entry]:
    """Bases first, then the most accurate first; of models without a base the first is one."""
    known = {entry.against for entry in entries}
    first = {entry.decoding: entry for entry in reversed(entries)}
    based = {entry.decoding for entry in entries if entry.base or entry.key in known}

    order = list(first)[::-1]

    def place(entry: Entry) -> tuple[bool, int, float]:
        base = (
            entry.base or entry.key in known or entry.decoding not in based and first[entry.decoding] is entry
        )
        accurate = 0.0 if base else entry.figures["accuracy"] or 0.0
        return not base, order.index(entry.decoding), -accurate

    return sorted(entries, key=place)


def _barred(rows: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """The rows with bars of the intervals, on one scale a column: percentages of its width."""
    scales: list[tuple[float, float] | None] = []
    for column in zip(*rows, strict=True):
        known = [end for cell in column if cell.interval for end in (*cell.interval, cell.value)]
        ends = [end for end in known if isinstance(end, int | float)]
        scales.append((min(ends), max(ends)) if ends else None)
    return [[_bar(cell, scale) for cell, scale in zip(row, scales, strict=True)] for row in rows]


def _bar(cell: Cell, scale: tuple[float, float] | None) -> Cell:
    """The cell with its bar; an open end reaches to the end of the scale."""
    if scale is None or cell.interval is None or not isinstance(cell.value, int | float):
        return cell
    first, last = scale

    def place(end: float) -> float:
        return round(100 * (end - first) / ((last - first) or 1), 2)

    low, high = cell.interval
    ends = place(first if low is None else low), place(last if high is None else high)
    return cell._replace(bar=(*ends, place(cell.value)))


def _near(folder: Path | None) -> str:
    """A folder as it is written from here."""
    if folder is None:
        return ""
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def _saved(both: tuple[Figures, Figures], pair: Comparison | None) -> str:
    """Share of the base's tokens that are saved, or that came on top."""
    before, after = (figures["tokens_mean"] for figures in both)
    if not before:
        return ""
    sign = 1 if after <= before else -1
    saved, ratios = sign * (1 - after / before), pair.tokens_ratio.ci95 if pair else None
    ends = ratios and sorted(sign * (1 - ratio) for ratio in ratios)
    shown = with_interval(saved, ends, share) if ends else share(saved)
    return f"{shown} {'saved' if sign > 0 else 'more'}"
