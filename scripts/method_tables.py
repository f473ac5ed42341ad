"""Tables of scripts/compare_methods.py: the seeds of a method in one row, its problems by difficulty."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml

from lenrl.measures import Estimate, accuracy, compare, mean_tokens
from lenrl.measures.format import with_interval

ROOT, OUT = Path(__file__).resolve().parent.parent, Path("outputs/compare")
PLAN = yaml.safe_load((Path(__file__).parent / "compare_methods.yaml").read_text())
SAMPLES = 2  # completions a test problem
COLUMNS = ("seeds", "accuracy (seeds' range)", "tokens", "accuracy − grpo's", "tokens / grpo's")


def finished(testbed: str, method: str, seeds: Sequence[int]) -> tuple[int, ...]:
    """Those of the seeds at which the method was measured."""
    return tuple(s for s in seeds if (OUT / testbed / "tests" / f"{method}-{s}" / "eval.json").exists())


@cache
def rows(testbed: str, method: str, seeds: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Verdicts and tokens of sampled completions, (prompts, seeds x SAMPLES), and the prompts' difficulties."""
    folders = [OUT / testbed / "tests" / f"{method}-{seed}" for seed in seeds]
    tables = [pq.read_table(folder / "completions-0-sampled.parquet").to_pydict() for folder in folders]
    assert all(table["prompt_id"] == tables[0]["prompt_id"] for table in tables), (
        "runs with other test problems"
    )
    correct, tokens = (
        np.hstack([np.array(table[column], dtype=float).reshape(-1, SAMPLES) for table in tables])
        for column in ("verdict", "tokens")
    )
    return correct, tokens, np.array(tables[0]["difficulty"])[::SAMPLES]


def ranged(estimate: Estimate | None, digits: int) -> str:
    return (
        "—"
        if estimate is None
        else with_interval(estimate.value, (estimate.low, estimate.high), f"{{:.{digits}f}}".format)
    )


def line(testbed: str, method: str, seeds: Sequence[int]) -> list[str]:
    """A method's cells: seeds, accuracy, tokens, three difficulties, and paired differences to plain 0/1 reward."""
    done = finished(testbed, method, seeds)
    correct, tokens, difficulty = rows(testbed, method, done)
    spread = correct.reshape(-1, len(done), SAMPLES).mean(axis=(0, 2))
    cells = [str(len(done)), ranged(accuracy(correct), 3), ranged(mean_tokens(tokens), 1)]
    cells[1] += f" ({min(spread):.3f} to {max(spread):.3f})" if len(done) > 1 else ""
    for kinds in PLAN["testbeds"][testbed]["difficulties"]:
        part = np.isin(difficulty, kinds)
        cells.append(f"{correct[part].mean():.2f} @ {tokens[part].mean():.0f}")
    if method == "grpo" or not (both := finished(testbed, "grpo", done)):
        return [*cells, "—", "—"]
    pair = compare(*rows(testbed, "grpo", both)[:2], *rows(testbed, method, both)[:2])
    return [*cells, ranged(pair.accuracy_diff, 3), ranged(pair.tokens_ratio, 2)]


def markdown(first: str, labels: Sequence[str], lines: list[list[str]]) -> str:
    head = [first, *COLUMNS[:3], *labels, *COLUMNS[3:]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines])


def table(testbed: str, methods: Sequence[str], seeds: Sequence[int], unit: str, cards: str) -> str:
    """A row for each of the methods that is finished; `unit` holds `{}` for a difficulty."""
    titles = {
        m: f"[{PLAN['titles'].get(m, f'`{m}`')}]({cards}/{PLAN['recipes'].get(m, m)}.md)" for m in methods
    }
    labels = [unit.format("/".join(kinds)) for kinds in PLAN["testbeds"][testbed]["difficulties"]]
    done = [method for method in ("base", *methods) if finished(testbed, method, seeds)]
    return markdown("method", labels, [[titles.get(m, m), *line(testbed, m, seeds)] for m in done])


def all_methods(testbed: str, seeds: Sequence[int]) -> str:
    """The table of a testbed, by accuracy."""
    done = {method: s for method in PLAN["methods"] if (s := finished(testbed, method, seeds))}
    order = sorted(done, key=lambda method: -rows(testbed, method, done[method])[0].mean())
    return table(testbed, order, seeds, "difficulty {}", "methods")


def fill(path: Path, mark: str, text: str) -> None:
    """Put a text between `<!-- MARK:begin -->` and `<!-- MARK:end -->` of a file."""
    before, begin, rest = path.read_text().partition(f"<!-- {mark}:begin -->\n")
    _, end, after = rest.partition(f"<!-- {mark}:end -->")
    assert begin and end, f"{path} has no place for {mark}"
    path.write_text(f"{before}{begin}{text}\n{end}{after}")


def write(seeds: Sequence[int]) -> None:
    """docs/results.md, its pictures and the cards."""
    for testbed in PLAN["testbeds"]:
        if finished(testbed, "grpo", seeds):
            shutil.copy(OUT / testbed / "figures" / "front.svg", ROOT / "docs" / f"{testbed}.svg")
            image = f"![accuracy over tokens, testbed {testbed}]({testbed}.svg)"
            fill(ROOT / "docs" / "results.md", testbed, f"{image}\n\n{all_methods(testbed, seeds)}")
    for method in PLAN["methods"].keys() - PLAN["recipes"].keys():
        beds = [testbed for testbed in PLAN["testbeds"] if finished(testbed, method, seeds)]
        if beds:
            scaled = ", ".join(f"`{option}`" for option in PLAN["methods"][method]) or "the recipe's own"
            text = f"Options: {scaled}. All methods, and what the testbeds are: [results](../results.md).\n\n"
            lines = [[f"`{testbed}`", *line(testbed, method, seeds)] for testbed in beds]
            text += markdown("testbed", ("easy", "hard", "hardest"), lines)
            fill(ROOT / "docs" / "methods" / f"{method}.md", "measured", text)
