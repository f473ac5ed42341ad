"""Tables and pictures of scripts/atlas.py: fronts of accuracy and tokens with intervals, against plain 0/1 reward.

A method's front is the most that mixtures of its points reach, one of which is not to answer at all: 0 tokens, never
right. Seeds of a point are taken together; problems are resampled, with all points of a method and those of `grpo`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from atlas import OUT, PLAN, SAMPLES, SEEDS, Cell, Curve

from lenrl.measures import Estimate, accuracy, compare, mean_tokens
from lenrl.measures.arrays import resample_weights
from lenrl.measures.format import with_interval
from lenrl.sweeps import ledger

ROOT = Path(__file__).resolve().parent.parent
RESAMPLES = 2000
PLAIN = "grpo"

Array = np.ndarray


@dataclass(frozen=True)
class Point:
    """Verdicts and tokens, (P, S x seeds), of a method at one place of its dial, and the problems' difficulties."""

    seeds: tuple[int, ...]
    correct_PS: Array
    tokens_PS: Array
    difficulty_P: Array

    @cached_property
    def means_P2(self) -> Array:
        return np.stack([self.correct_PS.mean(axis=1), self.tokens_PS.mean(axis=1)], axis=1)

    def of_seed(self, seed: int) -> Point:
        at = self.seeds.index(seed) * SAMPLES
        part = slice(at, at + SAMPLES)
        return Point((seed,), self.correct_PS[:, part], self.tokens_PS[:, part], self.difficulty_P)

    @property
    def accuracy_of_seeds(self) -> list[float]:
        return [float(self.of_seed(seed).correct_PS.mean()) for seed in self.seeds]


@cache
def answers(folder: Path, control: str = "none") -> tuple[Array, Array, Array] | None:
    """Verdicts, tokens and difficulties of an evaluation of one model under one control; unknown counts as wrong."""
    if not (folder / "eval.json").exists():
        return None
    models = json.loads((folder / "eval.json").read_text())["models"]
    entry = next((entry for entry in models if entry["control"] == control), None)
    if entry is None:
        return None
    columns = pq.read_table(
        folder / entry["completions"], columns=["verdict", "tokens", "difficulty"]
    ).to_pydict()
    verdicts, tokens = (
        np.array(columns[name], dtype=float).reshape(-1, SAMPLES) for name in ("verdict", "tokens")
    )
    return np.nan_to_num(verdicts), tokens, np.array(columns["difficulty"])[::SAMPLES]


def point(cells: Sequence[Cell], test: str, control: str = "none") -> Point | None:
    """Cells that differ in their seeds, taken together; None: none of them is measured."""
    found = [(cell.seed, read) for cell in cells if (read := answers(cell.tested(test), control))]
    if not found:
        return None
    correct, tokens, difficulty = zip(*(read for _, read in found), strict=True)
    return Point(tuple(seed for seed, _ in found), np.hstack(correct), np.hstack(tokens), difficulty[0])


def points(bed: str, method: str, test: str) -> dict[int, Point]:
    """Of each place of the dial that is measured."""
    curve = Curve(bed, method)
    found = {place: point(curve.cells(SEEDS, [place]), test) for place in range(len(curve.dial[1]))}
    return {place: one for place, one in found.items() if one}


def base_point(bed: str, test: str, control: str = "none") -> Point | None:
    return point([Cell(bed, "base", 0, seed) for seed in SEEDS], test, control)


def front(points_K2: Array) -> tuple[Array, Array]:
    """Tokens and accuracies of the corners of the front, from (0, 0) to the most accurate point.

    >>> front(np.array([[0.6, 30], [0.5, 40], [0.7, 90], [0.1, 20]]))
    (array([ 0., 30., 90.]), array([0. , 0.6, 0.7]))
    """
    corners: list[tuple[float, float]] = [(0.0, 0.0)]
    for right, tokens in sorted(points_K2.tolist(), key=lambda pair: (pair[1], -pair[0])):
        if right <= corners[-1][1]:
            continue
        while len(corners) > 1 and _above(corners[-2], (tokens, right), corners[-1]):
            corners.pop()
        corners.append((tokens, right))
    return np.array([t for t, _ in corners]), np.array([a for _, a in corners])


def _above(left: tuple[float, float], right: tuple[float, float], middle: tuple[float, float]) -> bool:
    """Whether the chord from left to right passes above the middle, or through it."""
    return (right[1] - left[1]) * (middle[0] - left[0]) >= (middle[1] - left[1]) * (right[0] - left[0])


@dataclass(frozen=True)
class Measures:
    """Of a front, against one point: its mean height, and its lead at equal tokens and at equal accuracy."""

    area: float  # mean accuracy within budgets from 0 to the other one's tokens
    lead: float  # accuracy at the other one's tokens, minus its accuracy
    tokens_ratio: float  # tokens at the other one's accuracy, over its tokens; infinite: not reached

    @classmethod
    def of(cls, points_K2: Array, other_2: Array, area_to: float) -> Measures:
        tokens, right = front(points_K2)
        grid = np.linspace(0, area_to, 201)
        reached = float(np.interp(other_2[0], right, tokens)) if right[-1] >= other_2[0] else float("inf")
        return cls(
            float(np.trapezoid(np.interp(grid, tokens, right), grid) / area_to),
            float(np.interp(other_2[1], tokens, right) - other_2[0]),
            reached / float(other_2[1]),
        )


def measured(found: Sequence[Point], other: Point) -> dict[str, Estimate]:
    """`Measures` with intervals: problems are resampled."""
    means_PK2 = np.stack([one.means_P2 for one in (*found, other)], axis=1)
    area_to = float(means_PK2[:, -1, 1].mean())
    P = len(means_PK2)
    share_RP = resample_weights(P, np.random.default_rng(0), RESAMPLES) / P
    drawn_RK2 = np.einsum("rp,pkc->rkc", share_RP, means_PK2)
    value, *each = (Measures.of(drawn[:-1], drawn[-1], area_to) for drawn in drawn_RK2)
    made = {}
    for name in ("area", "lead", "tokens_ratio"):
        low, high = np.percentile([getattr(one, name) for one in each], [2.5, 97.5], method="nearest")
        made[name] = Estimate(getattr(value, name), float(low), float(high))
    return made


def ranged(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return "—"
    text = with_interval(estimate.value, (estimate.low, estimate.high), f"{{:.{digits}f}}".format)
    return text.replace("inf", "∞")


def titled(method: str) -> str:
    return f"[`{method}`](methods/{method}.md)"


def fronts(bed: str, test: str, methods: Sequence[str]) -> str:
    """A row a method, the largest area first."""
    plain = points(bed, PLAIN, test)[0]
    base = base_point(bed, test)
    assert base is not None
    rows = []
    for method in methods:
        if not (found := points(bed, method, test)):
            continue
        made = measured(list(found.values()), plain)
        runs = [(place, seed) for place, one in found.items() for seed in one.seeds]
        collapsed = sum(
            right < float(base.correct_PS.mean()) for one in found.values() for right in one.accuracy_of_seeds
        )
        best = max(found.values(), key=lambda one: one.correct_PS.mean())
        shortest = min(found.values(), key=lambda one: one.tokens_PS.mean())
        rows.append((made["area"].value, [
            titled(method), str(len(runs)), f"{ranged(made['area'], 3)}{_seeds_area(found, plain)}",
            *(["—", "—"] if method == PLAIN else [ranged(made["lead"], 3), ranged(made["tokens_ratio"], 2)]),
            _at(best), _at(shortest), f"{collapsed} of {len(runs)}", f"{_seconds(bed, method, runs):.0f}",
        ]))  # fmt: skip
    head = [
        "method", "runs", "area (seeds' range)", f"accuracy at {PLAIN}'s tokens − its",
        f"tokens at {PLAIN}'s accuracy / its", "most accurate", "shortest", "below the base", "s a run",
    ]  # fmt: skip
    return markdown(head, [row for _, row in sorted(rows, key=lambda pair: -pair[0])])


def _seeds_area(found: dict[int, Point], plain: Point) -> str:
    """The range of the seeds' own fronts."""
    common = set.intersection(*(set(one.seeds) for one in found.values()))
    if len(common) < 2:
        return ""
    to = float(plain.tokens_PS.mean())
    areas = [
        Measures.of(
            np.stack([one.of_seed(seed).means_P2.mean(axis=0) for one in found.values()]),
            plain.means_P2.mean(axis=0), to,
        ).area
        for seed in common
    ]  # fmt: skip
    return f" ({min(areas):.3f} to {max(areas):.3f})"


def _at(one: Point) -> str:
    return f"{one.correct_PS.mean():.3f} @ {one.tokens_PS.mean():.1f}"


def _seconds(bed: str, method: str, runs: Sequence[tuple[int, int]]) -> float:
    """Median of the runs' seconds, from the sweep's ledger."""
    trials = ledger.read(OUT / bed / method)
    return statistics.median(trials[Cell(bed, method, *run).trial].seconds for run in runs)


def strengths(bed: str, test: str, methods: Sequence[str]) -> str:
    """A row for each place of each dial."""
    plain = points(bed, PLAIN, test)[0]
    kinds = difficulties(bed, plain)
    rows = []
    for method in methods:
        key, values = Curve(bed, method).dial
        for place, one in points(bed, method, test).items():
            label = f"`{key}={values[place]}`" if key else "—"
            rows.append([titled(method), label, *cells(one, kinds), *against(one, plain, method)])
    return markdown(_head(kinds, "dial"), rows)


def controls(bed: str, test: str) -> str:
    """The base as it is, and under each control."""
    plain = points(bed, PLAIN, test)[0]
    kinds = difficulties(bed, plain)
    rows = [
        ["base", f"`{control}`", *cells(one, kinds), *against(one, plain)]
        for control in ("none", *PLAN["testbeds"][bed]["controls"])
        if (one := base_point(bed, test, control))
    ]
    return markdown(_head(kinds, "control"), rows)


def difficulties(bed: str, one: Point) -> list[list[str]]:
    """The groups of difficulties of a testbed that this test has."""
    return [kind for kind in PLAN["testbeds"][bed]["difficulties"] if np.isin(one.difficulty_P, kind).any()]


def _head(kinds: Sequence[Sequence[str]], second: str) -> list[str]:
    labels = [f"difficulty {'/'.join(kind)}" for kind in kinds]
    paired = [f"accuracy − {PLAIN}'s", f"tokens / {PLAIN}'s"]
    return ["method", second, "seeds", "accuracy (seeds' range)", "tokens", *labels, *paired]


def cells(one: Point, kinds: Sequence[Sequence[str]]) -> list[str]:
    right, spread = accuracy(one.correct_PS), one.accuracy_of_seeds
    said = f"{ranged(right, 3)}" + (f" ({min(spread):.3f} to {max(spread):.3f})" if len(spread) > 1 else "")
    made = [str(len(one.seeds)), said, ranged(mean_tokens(one.tokens_PS), 1)]
    for kind in kinds:
        part = np.isin(one.difficulty_P, kind)
        made.append(f"{one.correct_PS[part].mean():.2f} @ {one.tokens_PS[part].mean():.0f}")
    return made


def against(one: Point, plain: Point, method: str = "") -> list[str]:
    """Paired differences to plain 0/1 reward, of the seeds that both have."""
    if method == PLAIN:
        return ["—", "—"]
    both = [seed for seed in one.seeds if seed in plain.seeds]
    if not both:
        return ["—", "—"]
    base, own = (
        [np.hstack([getattr(p.of_seed(seed), name) for seed in both]) for name in ("correct_PS", "tokens_PS")]
        for p in (plain, one)
    )
    pair = compare(base[0], base[1], own[0], own[1])
    return [ranged(pair.accuracy_diff, 3), ranged(pair.tokens_ratio, 2)]


def words(bed: str, test: str) -> str:
    """Models whose budget speaks in the prompt, without its words and with them."""
    rows = []
    for method in PLAN["methods"]:
        curve = Curve(bed, method)
        key, values = curve.dial
        for place, one in points(bed, method, test).items():
            cells = curve.cells(one.seeds, [place])
            for way in dict.fromkeys(hint_controls(cells, test)):
                asked = point(cells, test, way)
                assert asked is not None
                pair = compare(one.correct_PS, one.tokens_PS, asked.correct_PS, asked.tokens_PS)
                paired = [ranged(pair.accuracy_diff, 3), ranged(pair.tokens_ratio, 2)]
                label = titled(method) + (f" `{key}={values[place]}`" if key else "")
                rows.append([label, f"`{way}`", str(len(one.seeds)), _at(one), _at(asked), *paired])
    differences = ["accuracy, with − without", "tokens, with / without"]
    return markdown(["method", "asked as", "seeds", "without words", "with words", *differences], rows)


def hint_controls(made: Sequence[Cell], test: str) -> Iterator[str]:
    """Names of the rows that were asked with the budget's words."""
    for cell in made:
        file = cell.tested(test) / "eval.json"
        if file.exists():
            for entry in json.loads(file.read_text())["models"]:
                if entry["control"].startswith("hint@"):
                    yield entry["control"]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def picture(bed: str, test: str, methods: Sequence[str], path: Path) -> None:
    """Accuracy over tokens, a line a method through its dial, and again what lies near 0/1 reward."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "lenrl"
    figure, (whole, near) = plt.subplots(1, 2, figsize=(11.5, 4.6))
    free = [base_point(bed, test, control) for control in ("none", *PLAN["testbeds"][bed]["controls"])]
    free_K2 = np.array([one.means_P2.mean(axis=0) for one in free if one])
    places = {
        method: np.array([one.means_P2.mean(axis=0) for one in found.values()])
        for method in methods
        if (found := points(bed, method, test))
    }
    for axes in (whole, near):
        _draw(axes, free_K2, places)
        axes.grid(alpha=0.3)
        axes.set(xlabel="tokens a completion")
    (right, tokens) = places[PLAIN][0]
    near.set(xlim=(0.72 * tokens, 1.08 * tokens), ylim=(right - 0.08, right + 0.04), title=f"near {PLAIN}")
    whole.set(ylabel="accuracy", title="all")
    figure.legend(*whole.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0, 0.82, 1))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _draw(axes: Any, free_K2: Array, places: dict[str, Array]) -> None:
    """The base and what its controls reach, in grey, and the methods."""
    from matplotlib import color_sequences

    colours = [*color_sequences["tab10"], *color_sequences["Dark2"]]
    tokens, right = front(free_K2)
    grey = {"color": "#888888", "zorder": 1}
    reached = [*right[1:], right[-1]]
    axes.plot([*tokens[1:], max(free_K2[:, 1].max(), tokens[-1])], reached, lw=5, alpha=0.35, **grey)
    axes.scatter(free_K2[1:, 1], free_K2[1:, 0], s=14, label="base under controls,\nwithout training", **grey)
    axes.scatter(free_K2[0, 1], free_K2[0, 0], s=60, marker="s", color="black", label="base")
    for number, (method, place_K2) in enumerate(places.items()):
        if method == PLAIN:
            star = {"s": 150, "marker": "*", "color": "black", "zorder": 4}
            axes.scatter(place_K2[:, 1], place_K2[:, 0], label=f"{PLAIN}: 0/1 reward", **star)
            continue
        style = {"color": colours[number % len(colours)], "marker": "ovDs^P"[number % 6], "ms": 5, "lw": 1.3}
        axes.plot(place_K2[:, 1], place_K2[:, 0], label=method, **style)


def drawn(bed: str) -> list[str]:
    """Methods whose dial has more than one place, and all of them are measured; where one place is enough, all."""
    test = next(iter(PLAN["testbeds"][bed]["tests"]))
    few = PLAN["testbeds"][bed].get("one_place")
    chosen = []
    for method in PLAN["methods"]:
        places = len(Curve(bed, method).dial[1])
        if len(points(bed, method, test)) == places and (places > 1 or few or method == PLAIN):
            chosen.append(method)
    return chosen


def fill(path: Path, mark: str, text: str) -> None:
    """Put a text between `<!-- MARK:begin -->` and `<!-- MARK:end -->` of a file, where it has them."""
    before, begin, rest = path.read_text().partition(f"<!-- {mark}:begin -->\n")
    _, end, after = rest.partition(f"<!-- {mark}:end -->")
    if begin and end:
        path.write_text(f"{before}{begin}{text}\n{end}{after}")


def write() -> None:
    """Tables and pictures of each testbed's page, and the cards."""
    for bed, plan in PLAN["testbeds"].items():
        for test in plan["tests"]:
            if points(bed, PLAIN, test) and base_point(bed, test):
                write_test(bed, test, ROOT / "docs" / plan["page"])
    for method in PLAN["methods"]:
        card(method)


def write_test(bed: str, test: str, page: Path) -> None:
    """The tables of one test, on its page, and the picture of a testbed's first test."""
    curves = drawn(bed)
    others = [method for method in PLAN["methods"] if method not in curves and points(bed, method, test)]
    fill(page, f"{bed}-{test}-fronts", fronts(bed, test, curves))
    fill(page, f"{bed}-{test}-dials", strengths(bed, test, curves))
    fill(page, f"{bed}-{test}-others", strengths(bed, test, others))
    fill(page, f"{bed}-{test}-controls", controls(bed, test))
    fill(page, f"{bed}-{test}-words", words(bed, test))
    if test == next(iter(PLAN["testbeds"][bed]["tests"])):
        picture(bed, test, curves, page.parent / f"{bed}.svg")


def card(method: str) -> None:
    """What was measured, on the method's card."""
    lines = [
        f"Testbed `{bed}`, {test}:\n\n{strengths(bed, test, [method])}"
        for bed, plan in PLAN["testbeds"].items()
        for test in plan["tests"]
        if points(bed, method, test)
    ]
    if lines:
        settings = ", ".join(f"`{option}`" for option in PLAN["methods"][method].get("settings", []))
        head = f"Set beyond the recipe: {settings or 'nothing'}. All methods, all testbeds: [results](../results.md)."
        text = "\n\n".join([head, *lines]).replace("](methods/", "](")
        fill(ROOT / "docs" / "methods" / f"{method}.md", "measured", text)
