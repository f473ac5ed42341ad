"""Figures of an evaluation as tables for a terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from lenrl.evaluation.results import NONE
from lenrl.measures.format import Evaluation, Figures, change, points, share, tokens


class Cell(NamedTuple):
    """A cell of the table: what is shown, and what it is sorted by; None: nothing is known."""

    shown: str
    value: float | str | None
    interval: Sequence[float | None] | None = None
    # Ends of the interval, and the value, in % of the column's scale
    bar: tuple[float, float, float] | None = None
    mark: str = ""  # of a model: `best`, or `tied` with it


def models_table(entries: Sequence[Figures]) -> Table:
    """A line each model and decoding: accuracy and tokens with 95 % intervals, truncation."""
    table = _table(_title(entries), "model", ("accuracy", "tokens", "p95", "if right", "if wrong", "cut"))
    for entry in entries:
        table.add_row(
            Text(f"{entry['model']}\n{decoding_name(entry)}"),  # a name is no markup
            _cell(entry, "accuracy", share),
            _cell(entry, "tokens_mean", tokens),
            tokens(entry["tokens_p95"]),
            tokens(entry["tokens_correct"]),
            tokens(entry["tokens_wrong"]),
            share(entry["truncated_share"]),
        )
    return table


def more_table(entries: Sequence[Figures]) -> Table:
    """A line each model and decoding: what its samples say together, and what short budgets leave of it."""
    budget = entries[0]["area_tokens"]
    mean = entries[0]["tokens_mean"]  # of the base: what is left if all get no more than its average
    within = max((t for t in entries[0]["accuracy_within"] if int(t) <= mean), key=int, default=str(budget))
    samples = max(entry["samples"] for entry in entries)
    columns = (
        f"in {within} tokens",
        f"area to {budget}",
        "sd, tokens",
        "loops",
        "pass@n",
        "vote",
        "by length",
    )
    title = "Right within a budget; of one prompt's samples: spread, any right, majority, majority of lengths"
    table = _table(Text(title), "model", columns if samples > 1 else (*columns[:2], "loops"))
    for entry in entries:
        votes, best = entry["vote"] or {}, max(entry["pass_at_k"], key=int, default=None)
        mark = ", on the front" if entry["on_front"] and len(entries) > 1 else ""
        cells = [
            share(entry["accuracy_within"].get(within)),
            _cell(entry, "area", share),
            tokens(entry["lengths"]["sd"]),
            share(entry["lengths"]["degenerate_share"]),
            "-" if best is None else f"{share(entry['pass_at_k'][best])}\nn = {best}",
            _cell(votes, "majority", share),
            _cell(votes, "length_filtered", share),
        ]
        kept = cells if samples > 1 else [*cells[:2], cells[3]]
        table.add_row(Text(f"{entry['model']}\n{decoding_name(entry)}{mark}"), *kept)
    return table


def reach_table(entries: Sequence[Figures]) -> Table:
    """A line each model and decoding: accuracy up to the longest trained length and beyond it, the longest solved."""
    title = Text(f"Trained up to length {entries[0]['reach']['train_max']}; the longest that is still solved")
    table = _table(title, "model", ("accuracy to there", "beyond", "9 in 10", "1 in 2", "growth"))
    for entry in entries:
        found = entry["reach"]
        cells = [_cell(found[part], "accuracy", share) for part in ("inside", "outside")]
        shown = {"reach_90": "{:.0f}", "reach_50": "{:.0f}", "growth": "{:.2f}"}
        cells += [_cell(found, name, form.format) for name, form in shown.items()]
        table.add_row(Text(f"{entry['model']}\n{decoding_name(entry)}"), *cells)
    return table


def structure_table(entries: Sequence[Figures]) -> Table:
    """A line each: shares of the thinking, what they say of being right, and accuracy of the shortest sample."""
    title = Text("Structure of the thinking; its correlation (r) with being right; shortest taken")
    shares, ways = ("review", "failed"), ("length", "review", "failed")
    table = _table(title, "model", (*shares, *(f"r {name}" for name in ways), "shortest"))
    for entry in entries:
        found = entry["structure"]
        r, picked = found["correlation"], found["selection"]
        table.add_row(
            Text(f"{entry['model']}\n{decoding_name(entry)}"),
            *(share(found[f"{name}_share"]) for name in shares),
            *(_cell(r, name, "{:+.2f}".format) for name in ways),
            _cell(picked, "shortest", share),
        )
    return table


def pairs_table(pairs: Sequence[Figures]) -> Table:
    """A line each pair: difference of accuracy in points, ratio of tokens, AES."""
    weights = pairs[0]["aes_weights"]
    aes = f"AES ({weights['rise']:g}, {weights['fall']:g})"
    title = Text(f"Against {pairs[0]['base']}, problem by problem; AES with its weights")
    columns = ("accuracy, points", "tokens", aes)
    leads = any(pair.get("over_controls") is not None for pair in pairs)
    table = _table(title, "model", (*columns, "over controls, points") if leads else columns)
    for pair in pairs:
        table.add_row(
            Text(f"{pair['model']}\n{_controlled(pair['decoding'], pair)}"),
            _cell(pair, "accuracy_diff", points),
            _cell(pair, "tokens_ratio", change),
            "-" if pair["aes"] is None else f"{pair['aes']:.2f}",
            *([_cell(pair, "over_controls", points)] if leads else []),
        )
    return table


def cascades_table(rows: Sequence[Sequence[str]], header: Sequence[str], caption: str) -> Table:
    """A line each model and score of `lenrl.report.cascades`."""
    table = _table(Text(caption), header[0], header[1:])
    for row in rows:
        table.add_row(*map(_folded, row))
    return table


def before_after_table(result: Evaluation) -> Table:
    """A line each decoding: accuracy and tokens of the first model and of the second one."""
    columns = ("accuracy before", "after", "tokens before", "after", "saved")
    table = _table(_title(result["models"]), "decoding", columns)
    for before, after in before_after(result["models"]):
        ratio = after["tokens_mean"] / before["tokens_mean"]
        table.add_row(
            decoding_name(before),
            _cell(before, "accuracy", share),
            _cell(after, "accuracy", share),
            _cell(before, "tokens_mean", tokens),
            _cell(after, "tokens_mean", tokens),
            Text(f"{1 - ratio:.0%}", style="bold"),
        )
    return table


def compared_tables(compared: Mapping[str, Sequence[Sequence[Cell]]]) -> Iterator[Table]:
    """A table a decoding, a line a model: accuracy and tokens, their differences to its own base.

    Args:
        compared: by decoding, rows that begin with the model's name, then its settings, and end with eight figures.
    """
    for decoding, rows in compared.items():
        title = f"{decoding}; differences (accuracy in points) to each model's base, problem by problem"
        table = _table(Text(title), "model", ("accuracy", "tokens", "accuracy", "tokens"))
        for row in rows:
            mark = {"best": " *", "tied": " ~"}.get(row[0].mark, "")
            name = Text(f"{row[0].shown}{mark}", style="bold" if mark == " *" else "")
            table.add_row(name, *(_folded(cell.shown) for cell in row[-8:-4]))
        yield table


def before_after(entries: Sequence[Figures]) -> list[tuple[Figures, Figures]]:
    """The first and the last model's entries, a pair each decoding, both without a control."""
    decodings: dict[str, list[Figures]] = {}
    for entry in without_control(entries):
        decodings.setdefault(entry["decoding"], []).append(entry)
    return [(same[0], same[-1]) for same in decodings.values() if len(same) > 1]


def without_control(entries: Sequence[Figures]) -> list[Figures]:
    """Entries or pairs of models that were decoded as they are; files of older versions have no others."""
    return [entry for entry in entries if entry.get("control", NONE) == NONE]


def decoding_name(entry: Figures) -> str:
    samples = entry["samples"]
    name = entry["decoding"] if samples == 1 else f"{entry['decoding']}, {samples} a prompt"
    return _controlled(name, entry)


def _controlled(decoding: str, figures: Figures) -> str:
    control = figures.get("control", NONE)
    return decoding if control == NONE else f"{decoding}, {control}"


def _table(title: Text, first: str, numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _cell(figures: Figures, name: str, show: Callable[[float], str]) -> Text:
    """A figure, and its interval below it, without the unit."""
    value, interval = figures.get(name), figures.get(f"{name}_ci95")
    cell = Text("-" if value is None else show(value), style="bold")
    if value is not None and interval is not None:
        low, high = ("?" if end is None else show(end).rstrip("%") for end in interval)
        cell.append(f"\n{low} to {high}", style="not bold dim")
    return cell


def _folded(figure: str) -> Text:
    """A figure with its interval in brackets, if it has one, on a line of its own."""
    value, bracket, ends = figure.partition(" [")
    return Text(f"{value}\n{ends.replace(', ', ' to ').rstrip(']')}" if bracket else figure)


def _title(entries: Sequence[Figures]) -> Text:
    first = entries[0]
    return Text(
        f"{first['task']}: {first['prompts']} {first['split']} problems, 95 % intervals over problems"
    )
