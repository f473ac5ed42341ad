"""Cascades of a comparison: a model asked first, and its base where it is unsure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lenrl.evaluation.output import plain
from lenrl.evaluation.results import NONE
from lenrl.measures import cascade
from lenrl.measures.deferral import LEARNED, ORACLE
from lenrl.measures.format import Figures, change, figure, share, with_interval
from lenrl.report.entries import Entry
from lenrl.report.panels import PERCENT, Figure, Panel, layout, line, markers

HEADER = ("first", "score", "area against random", "right at the base's tokens", "as right, of its tokens")
CAPTION = (
    "Asked first, then the base where the score is lowest; the best of several scores is so partly by chance"
)
COLOURS = {
    "sum": "#0072b2",
    "mean": "#d55e00",
    "quantile": "#009e73",
    "answer": "#cc79a7",
    "length": "#e69f00",
    "vote": "#56b4e9",
    LEARNED: "#8a6fd1",
    ORACLE: "before",
}


@dataclass(frozen=True)
class Cascade:
    """A model asked first, and its base behind it."""

    name: str
    base: str
    decoding: str
    figures: Figures  # of `lenrl.measures.cascade`

    def shown(self) -> Iterator[tuple[str, Figures, str]]:
        """Score, figures and colour; of the quantiles the best one."""
        scores = self.figures["scores"]
        best = max((name for name in scores if name[1:].isdigit()), key=lambda name: scores[name]["auc"])
        for kind, colour in COLOURS.items():
            name = best if kind == "quantile" else kind
            if name in scores:
                yield name, scores[name], colour


def cascade_of(entry: Entry, base: Entry) -> Cascade | None:
    """The cascade of a model and its base; None: no log-probs, or other problems."""
    first = entry.answers
    behind = first and base.answers and base.answers.in_order_of(first)
    found = first and behind and cascade(first, behind)
    return None if found is None else Cascade(entry.name, base.name, entry.decoding, plain(found))


def figures(cascades: Sequence[Cascade]) -> list[Figure]:
    """Accuracy over tokens of each cascade by each score: a figure a decoding, a panel a model."""
    return [
        _figure(decoding, [one for one in cascades if one.decoding == decoding])
        for decoding in dict.fromkeys(one.decoding for one in cascades)
    ]


def _figure(decoding: str, cascades: Sequence[Cascade]) -> Figure:
    traces = []
    for panel, asked in enumerate(cascades):
        first, base = asked.figures["first"], asked.figures["base"]
        tokens = [first["tokens"], first["tokens"] + base["tokens"]]
        accuracy = [first["accuracy"], base["accuracy"]]
        drawn = [line("at random", tokens, accuracy, "before", panel, width=1)]
        for name, score, colour in asked.shown():
            style = {"dash": "dot", "width": 1} if name == ORACLE else {}
            drawn.append(line(name, score["tokens"], score["accuracy"], colour, panel, **style))
        alone = [base["tokens"]], [base["accuracy"]]
        drawn.append(markers("base alone", *alone, "text", panel, symbol="diamond"))
        for trace in drawn:
            group = "quantile" if trace["name"][1:].isdigit() else trace["name"]
            traces.append(trace | {"legendgroup": group, "showlegend": panel == 0})
    many = len(cascades) > 1
    panels = [
        Panel("tokens (mean)", "accuracy", c.name if many else "", y_more=PERCENT | {"rangemode": "normal"})
        for c in cascades
    ]
    return {"data": traces, "layout": layout(panels), "label": decoding}


def rows(cascades: Sequence[Cascade], *, few: bool = False) -> list[list[str]]:
    """Rows of `HEADER`; `few`: of each cascade the best score and the one that is learned."""
    found = []
    for one in cascades:
        for name, score, _ in one.shown():
            best = ", the best here" if name == one.figures["best"] else ""
            if few and not best and name != LEARNED:
                continue
            cells = [
                figure(score, "gain", lambda gain: change(1 + gain)),
                with_interval(score["accuracy_within"][-1], score["accuracy_within_ci95"][-1], share),
                figure(score, "share_at_parity", share),
            ]
            found.append([f"{one.name} ({one.decoding})", f"{name}{best}", *cells])
    return found


def of_pairs(pairs: Sequence[Figures]) -> list[Cascade]:
    """Cascades of an `eval.json`."""
    return [
        Cascade(
            f"{pair['model']}{'' if pair['control'] == NONE else ', ' + pair['control']}",
            pair["base"],
            pair["decoding"],
            pair["cascade"],
        )
        for pair in pairs
        if pair.get("cascade")
    ]
