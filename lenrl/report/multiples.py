"""Small multiples: a panel a run on shared axes, where lines of many runs over one another would say nothing."""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from lenrl.measures import Answers
from lenrl.report.entries import Entry, Training
from lenrl.report.panels import PERCENT, SMALL, Figure, Panel, Part, layout, line, markers, number

BINS = 24  # of lengths; wide ones can be compared between panels
BUDGETS = 48  # of a curve over budgets of tokens
TOGETHER = 3  # runs whose training curves share a panel
MAX_POINTS = 600  # of all runs' curves of one measure together, at least 60 each: the page stays small
VERDICTS = ((True, "right", "solid"), (False, "wrong", "dot"), (None, "unknown", "dash"))
CURVES = {  # key in metrics.jsonl: (title, key in dev.jsonl)
    "accuracy": ("accuracy", "eval_accuracy"),
    "tokens_mean": ("tokens", "eval_tokens"),
    "reward": ("reward", ""),
    "truncated_share": ("truncated share", "eval_truncated_share"),
}
Pair = tuple[Entry, Entry | None]  # a model and the one that it is compared with


def lengths(decoding: str, pairs: Sequence[Pair], palette: Mapping[str, str]) -> Figure:
    """Share of completions by tokens and verdict."""
    longest = max(max(e.columns["tokens"]) for pair in pairs for e in pair if e and e.columns.get("tokens"))
    edges = np.linspace(0, longest + 1, min(BINS, longest + 1) + 1)
    middles = ((edges[:-1] + edges[1:]) / 2).round(2).tolist()
    traces = []
    for panel, pair in enumerate(pairs):
        for entry in reversed([one for one in pair if one and one.columns.get("tokens")]):
            rows = list(zip(entry.columns["tokens"], entry.columns["verdict"], strict=True))
            for verdict, name, dash in VERDICTS:
                counted = [length for length, judged in rows if judged is verdict]
                if verdict is None and not counted:
                    continue
                shares = (np.histogram(counted, edges)[0] / len(rows)).round(5).tolist()
                style = {"dash": dash, "shape": "hvh"}
                traces.append(
                    line(f"{entry.name}, {name}", middles, shares, palette[entry.name], panel, **style)
                )
    return small(traces, pairs, Panel("tokens", "completions", y_more=PERCENT), decoding)


def budgets(decoding: str, pairs: Sequence[Pair], palette: Mapping[str, str]) -> Figure:
    """Share of completions that are right within a budget of tokens; of several runs with the most that any reaches."""
    known = {id(e): e.answers for pair in pairs for e in pair if e and e.answers}
    longest = max(float(answers.tokens_PS.max()) for answers in known.values())
    grid = np.unique(np.linspace(0, longest, BUDGETS + 1).round(1))
    curve = {name: _within(answers, grid) for name, answers in known.items()}
    most = np.max([curve[id(entry)] for entry, _ in pairs], axis=0)
    traces = []
    for panel, (entry, base) in enumerate(pairs):
        if len(pairs) > 1:
            envelope = line("best of all", grid.tolist(), most.tolist(), "text", panel, width=1, dash="dot")
            traces.append(envelope | {"hoverinfo": "skip"})
        for one in (base, entry):
            if one is not None and id(one) in curve:
                traces.append(
                    line(one.name, grid.tolist(), curve[id(one)].tolist(), palette[one.name], panel, width=2)
                )
    return small(traces, pairs, Panel("budget, tokens", "right within it", y_more=PERCENT), decoding)


def _within(answers: Answers, grid: np.ndarray) -> np.ndarray:
    """Share of all completions that are right, whole and no longer, at each budget."""
    right = (answers.correct_PS == 1) & (answers.truncated_PS == 0)
    ends = np.sort(answers.tokens_PS[right])
    return (np.searchsorted(ends, grid, side="right") / answers.tokens_PS.size).round(4)


def curves(trainings: Mapping[str, Training], palette: Mapping[str, str]) -> list[Figure]:
    """Rollouts over the optimizer steps; the development problems as diamonds.

    Of a few runs one figure, a panel a measure; of many a figure a measure, a panel a run, and behind each the
    median of all.
    """
    runs = {name: training for name, training in trainings.items() if training.metrics}
    lines = [line for training in runs.values() for line in training.metrics]
    keys = [key for key in CURVES if any(number(line.get(key)) is not None for line in lines)]
    if not keys:
        return []
    if len(runs) > TOGETHER:
        return [_curves_of(key, runs, palette) for key in keys]
    traces = [
        trace
        for name, training in runs.items()
        for panel, key in enumerate(keys)
        for trace in _run(name, training, key, palette[name], panel, MAX_POINTS)
    ]
    panels = [Panel("step", CURVES[key][0]) for key in keys]
    return [{"data": traces, "layout": layout(panels, zero=False)}]


def _curves_of(key: str, runs: Mapping[str, Training], palette: Mapping[str, str]) -> Figure:
    """One measure of many runs."""
    points = max(60, MAX_POINTS // len(runs))
    drawn = {
        name: _run(name, training, key, palette[name], panel, points)
        for panel, (name, training) in enumerate(runs.items())
    }
    known: dict[float, list[float]] = {}
    for traces in drawn.values():
        for x, y in zip(traces[0]["x"], traces[0]["y"], strict=True):
            if x is not None and y is not None:
                known.setdefault(x, []).append(y)
    middle = {x: statistics.median(ys) for x, ys in sorted(known.items())}
    traces = []
    for panel, own in enumerate(drawn.values()):
        median = line("median of all", list(middle), list(middle.values()), "before", panel, width=1)
        traces += [median | {"hoverinfo": "skip"}, *own]
    panels = [Panel("step", CURVES[key][0], name) for name in drawn]
    made = layout(panels, columns=SMALL, zero=False, small=True) | {"showlegend": False}
    return {"data": traces, "layout": made, "label": CURVES[key][0]}


def _run(name: str, training: Training, key: str, colour: str, panel: int, points: int) -> list[Part]:
    """A run's rollouts as a line, its evaluations on development problems as diamonds."""
    thinned = training.metrics[:: -(-len(training.metrics) // points)]
    shared = {"legendgroup": name, "showlegend": panel == 0}
    found = [line(name, *_points(thinned, key), colour, panel) | shared]
    measured = [line for line in training.dev if number(line.get(CURVES[key][1])) is not None]
    if measured:
        x, y = _points(measured, CURVES[key][1])
        name = f"{name}, development problems"
        found.append(markers(name, x, y, colour, panel, symbol="diamond", size=7) | shared)
    return found


def _points(lines: Sequence[Mapping[str, object]], key: str) -> tuple[list[float | None], list[float | None]]:
    return [number(line.get("step")) for line in lines], [number(line.get(key)) for line in lines]


def small(traces: Sequence[Part], pairs: Sequence[Pair], panel: Panel, label: str) -> Figure:
    """A figure of small panels under the runs' names; of one run a large one with a legend."""
    many = len(pairs) > 1
    panels = [Panel(panel.x, panel.y, e.name if many else "", panel.x_more, panel.y_more) for e, _ in pairs]
    made = layout(panels, columns=SMALL, small=many) | {"showlegend": not many}
    return {"data": list(traces), "layout": made, "label": label}
