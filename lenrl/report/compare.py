"""Models side by side: differences, headline, and the tables of the page."""

import json
from collections.abc import Mapping, Sequence

from lenrl.measures import Comparison
from lenrl.measures.format import Figures, change, points, share, tokens, with_interval
from lenrl.report import figures
from lenrl.report.figures import Figure
from lenrl.report.sources import Entry, Training, otherwise_measured, paired, varied
from lenrl.report.tables import Cell, decoding_name

HEADER = (
    "model",
    "decoding",
    "accuracy",
    "tokens",
    "p95",
    "if right",
    "if wrong",
    "truncated",
    "accuracy diff.",
    "tokens diff.",
)


class Compared:
    """Entries, and each one's difference to the first of its decoding.

    Args:
        entries: what was measured.
        unmeasured: trainings whose models were not, by their names.
    """

    def __init__(self, entries: Sequence[Entry], unmeasured: Mapping[str, Training] | None = None) -> None:
        self.entries = list(entries)
        self.trainings = {e.name: e.training for e in self.entries if e.training} | dict(unmeasured or {})
        self.bases: dict[str, Entry] = {}
        self.pairs: dict[int, Comparison | None] = {}
        self.warnings: list[str] = []
        for number, entry in enumerate(self.entries):
            base = self.bases.setdefault(entry.decoding, entry)
            self.pairs[number] = paired(base, entry)
            unlike = otherwise_measured(base, entry)
            if unlike:
                self.warnings.append(
                    f"{entry.name} ({entry.decoding}) was not measured like {base.name}: {'; '.join(unlike[:4])}"
                    + (f" and {len(unlike) - 4} more" if len(unlike) > 4 else "")
                )

    @property
    def two(self) -> bool:
        """Two models are compared, before and after."""
        return len({entry.name for entry in self.entries}) == 2

    def figures(self) -> dict[str, Figure]:
        return figures.all_figures(self.entries, self.trainings)

    def rows(self) -> list[list[Cell]]:
        """The table: a row an entry, in the order of `HEADER`."""
        return [self._row(entry, self.pairs[number]) for number, entry in enumerate(self.entries)]

    def _row(self, entry: Entry, pair: Comparison | None) -> list[Cell]:
        f = entry.figures
        row = [
            Cell(entry.name, entry.name),
            Cell(decoding_name(f), f["decoding"]),
            Cell(with_interval(f["accuracy"], f["accuracy_ci95"], share), f["accuracy"]),
            Cell(with_interval(f["tokens_mean"], f["tokens_mean_ci95"], tokens), f["tokens_mean"]),
            *(Cell(tokens(f[key]), f[key]) for key in ("tokens_p95", "tokens_correct", "tokens_wrong")),
            Cell(share(f["truncated_share"]), f["truncated_share"]),
        ]
        gain, ratio = (pair.accuracy_diff, pair.tokens_ratio) if pair else (None, None)
        for difference, write in ((gain, points), (ratio, change)):
            shown = with_interval(difference.value, difference.ci95, write) if difference else "-"
            row.append(Cell(shown, difference.value if difference else None))
        return row

    def cards(self) -> list[dict[str, str | list[str]]]:
        """The headline of two models: accuracy and tokens before and after, and their difference, a decoding."""
        cards: list[dict[str, str | list[str]]] = []
        for number, entry in enumerate(self.entries if self.two else []):
            base, pair = self.bases[entry.decoding], self.pairs[number]
            if base is entry:
                continue
            both = (base.figures, entry.figures)
            gain = pair.accuracy_diff if pair else None
            name, accuracy = decoding_name(entry.figures), [share(f["accuracy"]) for f in both]
            note = f"{with_interval(gain.value, gain.ci95, points)} points" if gain else ""
            cards.append({"label": f"accuracy, {name}", "both": accuracy, "note": note})
            length = [tokens(f["tokens_mean"]) for f in both]
            cards.append({"label": f"tokens, {name}", "both": length, "note": _saved(both, pair)})
        return cards

    def lead(self) -> str:
        """The measured models, problems and base in a sentence."""
        names = ", ".join(dict.fromkeys(entry.name for entry in self.entries if not entry.base))
        measured = {(f["prompts"], f["split"], f["task"]) for f in (entry.figures for entry in self.entries)}
        prompts, split, task = min(measured, key=str)
        problems = f" on {prompts} {split} problems of {task}" if len(measured) == 1 else ""
        base = next((f" Base: {entry.name}." for entry in self.entries if entry.base), "")
        return f"{len(self.entries)} evaluations{problems}: {names}.{base} 95 % intervals over problems."

    def breakdowns(self) -> list[dict[str, object]]:
        """Accuracy and tokens by part of a mix and by difficulty, as far as there are any."""
        kinds = {"part": "parts", "difficulty": "difficulties"}
        tables = [(kind, name, self._breakdown(f"by_{kind}")) for kind, name in kinds.items()]
        return [{"kind": kind, "id": name, **table} for kind, name, table in tables if table]

    def _breakdown(self, key: str) -> dict[str, object] | None:
        """Accuracy and tokens a part or difficulty, of each entry of the first decoding."""
        first = self.entries[0].decoding if self.entries else None
        entries = [e for e in self.entries if e.decoding == first and e.figures.get(key)]
        if not entries:
            return None
        tables = [entry.figures[key] for entry in entries]
        rows = []
        for grade in dict.fromkeys(grade for table in tables for grade in table):
            figures_ = [table.get(grade) for table in tables]
            prompts = next(f["prompts"] for f in figures_ if f)
            cells = [
                cell
                for f in figures_
                for cell in ((share(f["accuracy"]), tokens(f["tokens_mean"])) if f else ("-", "-"))
            ]
            rows.append([grade, prompts, *cells])
        return {"decoding": entries[0].decoding, "models": [entry.name for entry in entries], "rows": rows}

    def settings(self) -> dict[str, object]:
        """Settings that differ, the recipes as they were written, the first evaluation's fingerprint."""
        runs = list({entry.name: entry for entry in self.entries if entry.settings}.values())
        rows = [
            [key, *(figures.short_value(e.settings[key]) if key in e.settings else "" for e in runs)]
            for key in varied(runs)
        ]
        first = self.entries[0].figures["fingerprint"] if self.entries else None
        return {
            "names": [entry.name for entry in runs],
            "rows": rows,
            "recipes": {
                name: training.recipe for name, training in self.trainings.items() if training.recipe
            },
            "fingerprint": first and json.dumps(first, indent=2),
        }


def _saved(both: tuple[Figures, Figures], pair: Comparison | None) -> str:
    """Share of the base's tokens that are saved, or that came on top."""
    before, after = (figures["tokens_mean"] for figures in both)
    if not before:
        return ""
    fewer = after <= before
    shares = [1 - after / before, *((1 - end for end in pair.tokens_ratio.ci95) if pair else ())]
    value, *ends = (share(part if fewer else -part) for part in shares)
    interval = f" [{', '.join(reversed(ends) if fewer else ends)}]" if ends else ""
    return f"{value}{interval} {'saved' if fewer else 'more'}"
