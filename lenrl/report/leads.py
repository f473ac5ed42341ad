"""Training-free controls in a comparison: what a base reaches with them, and what a model leads that by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lenrl.evaluation.results import of_training_free
from lenrl.measures import Estimate, Point, above_front, accuracy, cuts, mixture
from lenrl.measures.format import points as in_points
from lenrl.measures.format import with_interval
from lenrl.report.entries import Answers, Entry
from lenrl.report.panels import Part, line

STEPS = 60  # of the line


def reached(base: Entry, entries: Sequence[Entry]) -> list[Point] | None:
    """Points of a base: as it is, cut at budgets, and under each of its controls; None: it has none."""
    own = base.answers
    model = base.figures["model"]
    controlled = [
        e.answers
        for e in entries
        if of_training_free(e.control)
        and e.figures["model"] == model
        and e.decoding == base.decoding
        and e.answers
    ]
    if own is None or not controlled or any(a.rows.keys() != own.rows.keys() for a in controlled):
        return None
    cut = cuts(own.correct_PS, own.tokens_PS, own.truncated_PS, float(own.tokens_PS.max()))
    return [*cut, *(_point(answers.in_order_of(own)) for answers in controlled)]


def line_of(base: Entry, points: Sequence[Point], panel: int) -> Part:
    """The most that mixtures of the points reach, over their tokens."""
    tokens = [float(np.asarray(point.tokens_PS).mean()) for point in points]
    accuracies = [estimate.value if (estimate := accuracy(point.correct_PS)) else 0.0 for point in points]
    grid = np.unique([*tokens, *np.linspace(min(tokens), max(tokens), STEPS)])
    most = [mixture(tokens, accuracies, budget) for budget in grid]
    return line(f"{base.name}'s controls, mixed", grid.tolist(), most, "before", panel, width=2)


def leads(entries: Sequence[Entry], bases: Sequence[Entry | None]) -> list[str]:
    """A sentence for each model whose base was controlled: `over_controls`."""
    said = []
    for entry, base in zip(entries, bases, strict=True):
        points = reached(base, entries) if base and not entry.control else None
        if base is None or points is None or entry.answers is None or base.answers is None:
            continue
        if entry.answers.rows.keys() != base.answers.rows.keys():
            continue
        lead = above_front(points, _point(entry.answers.in_order_of(base.answers)))
        said.append(f"{entry.name} ({entry.decoding}), over_controls: {_words(lead, base.name)}")
    return said


def _words(lead: Estimate | None, base: str) -> str:
    if lead is None:
        return f"none, as it pays fewer tokens than {base} under every control"
    figure = with_interval(lead.value, lead.ci95, in_points)
    return f"{figure} points against the best mixture of {base}'s controls at equal tokens"


def _point(answers: Answers) -> Point:
    return Point(answers.correct_PS, answers.tokens_PS)
