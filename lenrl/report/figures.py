"""Figures of a comparison: all of them by name, the front of accuracy and tokens, the effects of settings."""

import colorsys
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from lenrl.measures import pareto_front
from lenrl.report import cascades, leads, length_curves, multiples, reaches
from lenrl.report.cascades import Cascade
from lenrl.report.entries import Entry, Training, varied
from lenrl.report.multiples import Pair
from lenrl.report.panels import PERCENT, Figure, Panel, Part, error, layout, line, markers

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6fd1", "#a65628")
SHAPES = ("circle", "diamond", "square", "cross", "triangle-up", "star")  # one a decoding
MAX_OPTIONS = 6  # swept options whose effect is drawn
SMALL_PANELS = {  # a figure a decoding, a panel a run, its base behind it: which entries have one, and who draws it
    "budgets": (lambda entry: entry.answers is not None, multiples.budgets),
    "lengths": (lambda entry: bool(entry.columns.get("tokens")), multiples.lengths),
    "by_length": (lambda entry: length_curves.curve(entry) is not None, length_curves.figure),
    "reach": (lambda entry: bool(entry.figures.get("reach")), reaches.figure),
}


def all_figures(
    entries: Sequence[Entry],
    bases: Sequence[Entry | None],
    trainings: Mapping[str, Training],
    asked: Sequence[Cascade] = (),
) -> dict[str, Figure]:
    """Every figure that there is something to draw of, by its name; `lengths`, `lengths-2` are of two decodings.

    Args:
        bases: of each entry the one that it is compared with; None: it is such a one itself.
        trainings: what was trained, by the name of its entries.
        asked: cascades of entries with their bases.
    """
    names = dict.fromkeys([*(entry.name for entry in entries), *trainings])
    palette = colours(list(names), {entry.name for entry in bases if entry})
    drawn: dict[str, Figure] = {}
    for kind, found in (
        ("front", [front(entries, bases, palette)]),
        *(
            (kind, [draw(label, pairs, palette) for label, pairs in by_decoding(entries, bases, known)])
            for kind, (known, draw) in SMALL_PANELS.items()
        ),
        ("cascades", cascades.figures(asked)),
        ("effects", [effects(entries, palette)]),
        ("curves", multiples.curves(trainings, palette)),
    ):
        for number, figure in enumerate(figure for figure in found if figure):
            drawn[kind if number == 0 else f"{kind}-{number + 1}"] = figure
    return drawn


def by_decoding(
    entries: Sequence[Entry], bases: Sequence[Entry | None], known: Callable[[Entry], bool]
) -> list[tuple[str, list[Pair]]]:
    """Each decoding with its runs and their bases, as far as they are known; of bases alone with themselves."""
    pairs = [pair for pair in zip(entries, bases, strict=True) if known(pair[0])]
    found = []
    for decoding in dict.fromkeys(entry.decoding for entry, _ in pairs):
        same = [pair for pair in pairs if pair[0].decoding == decoding]
        found.append((decoding, [pair for pair in same if pair[1]] or same))
    return found


def colours(names: Sequence[str], bases: Iterable[str] = ()) -> dict[str, str]:
    """A colour of its own for each run, one for all bases; of two models, the first is `before`, the second `after`.

    >>> colours(["base", "run"]), colours(["base", "a", "b"], ["base"])["base"]
    ({'base': 'before', 'run': 'after'}, 'before')
    """
    if len(names) <= 2:
        return dict(zip(names, ("before", "after")[-len(names) :], strict=False))
    free = _hues()
    return {name: "before" if name in set(bases) else next(free) for name in names}


def _hues() -> Iterator[str]:
    """Colours that are told apart in both themes: a well-known palette, then hues of the golden ratio."""
    yield from COLOURS
    number = 0
    while True:
        number += 1
        red, green, blue = colorsys.hls_to_rgb(number * 0.618034 % 1, (0.42, 0.58)[number % 2], 0.6)
        yield f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def shapes(entries: Iterable[Entry]) -> dict[str, str]:
    """A shape for each decoding."""
    decodings = dict.fromkeys(entry.decoding for entry in entries)
    return {name: SHAPES[number % len(SHAPES)] for number, name in enumerate(decodings)}


def front(
    entries: Sequence[Entry], bases: Sequence[Entry | None], palette: Mapping[str, str]
) -> Figure | None:
    """Accuracy over tokens with 95 % intervals, a panel a decoding; joined: two models, else the Pareto front.

    Under the points of a base that was controlled goes the line of the most that mixtures of its controls reach.
    """
    known = [entry for entry in entries if entry.figures["accuracy"] is not None]
    if not known:
        return None
    shape, legend = shapes(known), set[str]()
    traces: list[Part] = []
    for panel, decoding in enumerate(shape):
        same = [entry for entry in known if entry.decoding == decoding]
        joined = same if len(palette) == 2 else undominated(same)
        if len(joined) > 1:
            tokens, accuracy = ([e.figures[key] for e in joined] for key in ("tokens_mean", "accuracy"))
            drawn = line(f"front, {decoding}", tokens, accuracy, "text", panel, width=1, dash="dot")
            traces.append(drawn | {"hoverinfo": "skip", "showlegend": False})
        for base in {
            id(b): b for b in (*bases, *same) if b and b.decoding == decoding and not b.control
        }.values():
            if points := leads.reached(base, entries):
                traces.append(leads.line_of(base, points, panel) | {"showlegend": panel == 0})
        for entry in same:
            traces.append(_point(entry, palette[entry.name], shape[decoding], panel, legend))
    panels = [Panel("tokens (mean)", "accuracy", decoding, y_more=PERCENT) for decoding in shape]
    for panel in panels:
        panel.y_more.update(rangemode="normal")
    made = layout(panels)
    made["height"] = max(420, 110 + 30 * min(20, len(palette)))  # the legend's lines
    return {"data": traces, "layout": made}


def _point(entry: Entry, colour: str, shape: str, panel: int, legend: set[str]) -> Part:
    """A model with its intervals; the first of a name stands in the legend."""
    f = entry.figures
    shown = entry.name not in legend
    legend.add(entry.name)
    x, y = [f["tokens_mean"]], [f["accuracy"]]
    return {
        **markers(entry.name, x, y, colour, panel, size=11, symbol=shape),
        "legendgroup": entry.name,
        "showlegend": shown,
        "error_x": error([f], "tokens_mean", colour),
        "error_y": error([f], "accuracy", colour),
        "hovertemplate": "%{fullData.name}<br>%{x:.1f} tokens, accuracy %{y:.1%}<extra></extra>",
    }


def undominated(entries: Sequence[Entry]) -> list[Entry]:
    """Those that no other one beats in accuracy and in tokens, fewest tokens first."""
    tokens = [entry.figures["tokens_mean"] for entry in entries]
    on_front = pareto_front([entry.figures["accuracy"] for entry in entries], tokens)
    chosen = [entry for entry, best in zip(entries, on_front, strict=True) if best]
    return sorted(chosen, key=lambda entry: entry.figures["tokens_mean"])


def effects(entries: Sequence[Entry], palette: Mapping[str, str]) -> Figure | None:
    """Accuracy and tokens by each option that was swept, or else differs between all runs; a row an option.

    A decoding has a shape and a line through its means of its own.
    """
    runs = [entry for entry in entries if entry.settings and entry.figures["accuracy"] is not None]
    keys = varied(runs)
    swept = [key for key in keys if any(key in entry.swept and key in entry.settings for entry in runs)]
    swept = swept or [key for key in keys if all(key in entry.settings for entry in runs)]
    keys = ([key for key in swept if key != "seed"] or swept)[:MAX_OPTIONS]
    shape = shapes(runs)
    traces: list[Part] = []
    panels: list[Panel] = []
    for key in keys:
        own = [entry for entry in runs if key in entry.swept and key in entry.settings] or runs
        values = sorted({short_value(entry.settings[key]) for entry in own}, key=_in_order)
        category = {"type": "category", "categoryorder": "array", "categoryarray": values}
        for measure, title, more in (("accuracy", "accuracy", PERCENT), ("tokens_mean", "tokens", {})):
            for decoding, symbol in shape.items():
                same = [entry for entry in own if entry.decoding == decoding]
                traces += _series(same, key, measure, values, (decoding, symbol, len(panels)), palette)
            panels.append(Panel(key, title, x_more=category, y_more=more))
    return {"data": traces, "layout": layout(panels, zero=False)} if panels else None


def _series(
    entries: Sequence[Entry],
    key: str,
    measure: str,
    values: Sequence[str],
    drawn: tuple[str, str, int],
    palette: Mapping[str, str],
) -> list[Part]:
    """The runs of one decoding by one option, and a line through the means; `drawn`: decoding, shape, panel."""
    decoding, symbol, panel = drawn
    points = [(short_value(entry.settings[key]), entry.figures[measure]) for entry in entries]
    means = {value: [y for x, y in points if x == value] for value in values}
    means = {value: sum(ys) / len(ys) for value, ys in means.items() if ys}
    joined = line(f"mean, {decoding}", list(means), list(means.values()), "text", panel, width=1, dash="dot")
    own = [palette[entry.name] for entry in entries]
    x, y = zip(*points, strict=True) if points else ((), ())
    runs = markers(decoding, x, y, own, panel, symbol=symbol) | {
        "legendgroup": decoding,
        "showlegend": panel == 0,
        "text": [entry.name for entry in entries],
        "hovertemplate": "%{text}<br>%{x}: %{y:.4g}<extra></extra>",
    }
    return [joined | {"hoverinfo": "skip", "showlegend": False}, runs]


def short_value(value: object) -> str:
    """A setting, short enough for an axis."""
    shown = value if isinstance(value, str) else json.dumps(value, default=str)
    return shown if len(shown) <= 24 else f"{shown[:23]}…"


def _in_order(value: str) -> tuple[bool, float, str]:
    """Numbers by their size, then words."""
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value
