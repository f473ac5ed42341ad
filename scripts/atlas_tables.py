"""Tables of scripts/atlas.py, on their pages and the methods' cards: fronts and points against plain 0/1 reward.

Seeds of a point are taken together; problems are resampled, with all points of a method and those of `grpo`.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from atlas import COMPARED, OUT, PLAN, SEEDS, Cell, Curve
from atlas_fronts import Measures, by_chance, measured
from atlas_picture import picture
from atlas_points import PLAIN, Point, base_points, point, points

from lenrl.measures import Estimate, above_front, accuracy, compare, mean_tokens, reach_lost
from lenrl.measures.format import with_interval
from lenrl.sweeps import ledger

ROOT = Path(__file__).resolve().parent.parent
MEASURED = re.compile(r"Testbed `(.+)`, (.+):\n\n((?:\|.*\n)+)")  # of a card


def ranged(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return "—"
    value, low, high = (f"{number:.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]".replace("inf", "∞")


def titled(method: str) -> str:
    return f"[`{method}`](methods/{method}.md)"


def fronts(bed: str, test: str, methods: Sequence[str]) -> str:
    """A row a method, the largest area first."""
    plain = points(bed, PLAIN, test)[0]
    base, *controlled = base_points(bed, test).values()
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
            *(["—", "—"] if method == PLAIN else _led(made)),
            _at(best), _over(best, [base, *controlled]), _at(shortest),
            f"{collapsed} of {len(runs)}", f"{_seconds(bed, method, runs):.0f}",
        ]))  # fmt: skip
    if len(spare := spare_runs(bed, test)) > len(COMPARED):
        made = by_chance(spare, plain, max(len(Curve(bed, method).dial[1]) for method in methods))
        told = [f"{PLAIN} against itself", str(len(spare)), ranged(made["area"], 3), *_led(made)]
        rows.append((made["area"].value, [*told, *["—"] * 5]))
    head = [
        "method", "runs", "area (seeds' range)", f"accuracy at {PLAIN}'s tokens − its",
        f"tokens at {PLAIN}'s accuracy / its", "most accurate", "over the controls", "shortest",
        "below the base", "s a run",
    ]  # fmt: skip
    return markdown(head, [row for _, row in sorted(rows, key=lambda pair: -pair[0])])


def spare_runs(bed: str, test: str) -> list[Point]:
    """Runs of 0/1 reward at seeds that no other method has."""
    runs = [point([Cell(bed, PLAIN, 0, seed)], test) for seed in SEEDS if seed not in COMPARED]
    return [run for run in runs if run]


def _over(best: Point, free: Sequence[Point]) -> str:
    """Lead over the best mixture of the base's controls that pays as many tokens."""
    return ranged(above_front([one.answers for one in free], best.answers), 3)


def _led(made: dict[str, Estimate]) -> list[str]:
    return [ranged(made["lead"], 3), ranged(made["tokens_ratio"], 2)]


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
        for control, one in base_points(bed, test).items()
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


def beyond(bed: str, test: str, methods: Sequence[str]) -> str:
    """Accuracy and tokens up to the trained lengths and beyond, and how much more was lost beyond."""
    trained, plain = PLAN["testbeds"][bed]["train_max"], points(bed, PLAIN, test)[0]
    free = {f"base, `{control}`": one for control, one in base_points(bed, test).items()}
    base = free.pop("base, `none`")
    rows = []
    for name, one in {"base": base, **free, **{titled(m): points(bed, m, test)[0] for m in methods}}.items():
        length_P = one.difficulty_P.astype(int)
        row = [name, str(len(one.seeds))]
        for part in (length_P <= trained, length_P > trained):
            row.append(f"{ranged(accuracy(one.correct_PS[part]), 3)} @ {one.tokens_PS[part].mean():.1f}")
        for own, other in {"base": base, titled(PLAIN): plain}.items():
            lost = reach_lost(other.answers, one.answers, length_P, trained)
            extra = with_interval(lost["extra_cost"], lost["extra_cost_ci95"], "{:.3f}".format)
            row.append("—" if name == own else extra)
        rows.append(row)
    parts = [f"up to {trained}", f"beyond {trained}"]
    return markdown(["method", "seeds", *parts, "extra cost, to the base", f"to {PLAIN}"], rows)


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
    if (parts := _parts(path, mark)) is not None:
        path.write_text(f"{parts[0]}{text}\n{parts[2]}")


def _parts(path: Path, mark: str) -> tuple[str, str, str] | None:
    """A file up to the end of a mark's first line, what is between, and the rest; None: it has no such mark."""
    before, begin, rest = path.read_text().partition(f"<!-- {mark}:begin -->\n")
    between, end, after = rest.partition(f"<!-- {mark}:end -->")
    return (before + begin, between, end + after) if begin and end else None


def write() -> None:
    """Tables and pictures of each testbed's page, and the cards."""
    for bed, plan in PLAN["testbeds"].items():
        for test in plan["tests"]:
            if points(bed, PLAIN, test) and base_points(bed, test):
                write_test(bed, test, ROOT / "docs" / plan["page"])
    for method in PLAN["methods"]:
        card(method)


def write_test(bed: str, test: str, page: Path) -> None:
    """The tables of one test, on its page, and the picture of a testbed's first test."""
    curves = drawn(bed)
    if "train_max" in PLAN["testbeds"][bed]:
        return fill(page, f"{bed}-{test}-beyond", beyond(bed, test, curves))
    others = [method for method in PLAN["methods"] if method not in curves and points(bed, method, test)]
    fill(page, f"{bed}-{test}-fronts", fronts(bed, test, curves))
    fill(page, f"{bed}-{test}-dials", strengths(bed, test, curves))
    fill(page, f"{bed}-{test}-others", strengths(bed, test, others))
    fill(page, f"{bed}-{test}-controls", controls(bed, test))
    fill(page, f"{bed}-{test}-words", words(bed, test))
    if test == next(iter(PLAN["testbeds"][bed]["tests"])):
        picture(bed, test, curves, page.parent / f"{bed}.svg")


def card(method: str) -> None:
    """What was measured, on the method's card; tables of testbeds that are not measured here stay as they are."""
    path = ROOT / "docs" / "methods" / f"{method}.md"
    parts = _parts(path, "measured")
    tests = [(bed, test) for bed, plan in PLAN["testbeds"].items() for test in plan["tests"]]
    made = {one: strengths(*one, [method]) for one in tests if points(one[0], method, one[1])}
    if made and parts:
        old = {(bed, test): table.rstrip() for bed, test, table in MEASURED.findall(parts[1])}
        tables = {one: made.get(one, old.get(one)) for one in tests}
        settings = ", ".join(f"`{option}`" for option in PLAN["methods"][method].get("settings", []))
        head = f"Set beyond the recipe: {settings or 'nothing'}. All methods, all testbeds: [results](../results.md)."
        lines = [f"Testbed `{bed}`, {test}:\n\n{table}" for (bed, test), table in tables.items() if table]
        fill(path, "measured", "\n\n".join([head, *lines]).replace("](methods/", "]("))
