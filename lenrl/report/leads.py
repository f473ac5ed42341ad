"""Training-free controls in a comparison: what a base reaches with them, and what a model leads that by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lenrl.evaluation.results import of_training_free
from lenrl.measures import Answers, Estimate, above_front, accuracy, cuts, mixture
from lenrl.measures.format import estimate
from lenrl.measures.format import points as in_points
from lenrl.report.entries import Entry
from lenrl.report.panels import Part, line

STEPS = 60  # of the line


def reached(base: Entry, entries: Sequence[Entry]) -> list[Answers] | None:
    """Points of a base: as it is, cut at budgets, and under each of its controls; None: it has none."""
    if (own := base.answers) is None:
        return None
    like = (base.figures["model"], base.decoding)
    controlled = [
        e.answers.in_order_of(own)
        for e in entries
        if of_training_free(e.control) and (e.figures["model"], e.decoding) == like and e.answers
    ]
    known = [answers.by_base for answers in controlled if answers]
    if not known or len(known) < len(controlled):
        return None
    return [*cuts(own.by_base, float(own.tokens_PS.max())), *known]


def line_of(base: Entry, points: Sequence[Answers], panel: int) -> Part:
    """The most that mixtures of the points reach, over their tokens."""
    tokens = [float(point.tokens_PS.mean()) for point in points]
    accuracies = [right.value if (right := accuracy(point.correct_PS)) else 0.0 for point in points]
    grid = np.unique([*tokens, *np.linspace(min(tokens), max(tokens), STEPS)])
    most = mixture(tokens, accuracies, grid)
    return line(f"{base.name}'s controls, mixed", grid.tolist(), most.tolist(), "before", panel, width=2)


def leads(entries: Sequence[Entry], bases: Sequence[Entry | None]) -> list[str]:
    """A sentence for each model whose base was controlled: `over_controls`."""
    said, known = [], {id(base): reached(base, entries) for base in bases if base}
    for entry, base in zip(entries, bases, strict=True):
        if not base or not base.answers or not entry.answers or entry.control:
            continue
        points, own = known[id(base)], entry.answers.in_order_of(base.answers)
        if points is None or own is None:
            continue
        lead = above_front(points, own.by_base)
        said.append(f"{entry.name} ({entry.decoding}), over_controls: {_words(lead, base.name)}")
    return said


def _words(lead: Estimate | None, base: str) -> str:
    if lead is None:
        return f"none, as it pays fewer tokens than {base} under every control"
    return f"{estimate(lead, in_points)} points against the best mixture of {base}'s controls at equal tokens"
