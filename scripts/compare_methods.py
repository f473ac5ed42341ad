#!/usr/bin/env python3
"""Compares every method on one testbed at equal prompts: accuracy against tokens, by seed and by difficulty.

    scripts/make_testbeds.py
    scripts/compare_methods.py --seeds 0 1 2 --jobs 2           # a rerun continues
    scripts/compare_methods.py --testbed sums --methods core --seeds 0
    scripts/compare_methods.py --seeds 0 1 2 --write            # the tables of what is finished, into docs/

Every run is a `lenrl train` of its own in outputs/compare/TESTBED/; finished ones are not run again. `--write` puts the
tables into docs/results.md and each method's own line into its card.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lenrl.evaluation.evaluate import evaluate  # noqa: E402
from lenrl.measures import Estimate, accuracy, compare, mean_tokens  # noqa: E402

OUT = Path("outputs/compare")
CORE = ["curriculum", "surrogate", "drpo", "grpo_lambda", "dot", "palu"]
RIVALS = ["grpo", "grpo_4", "length_penalty", "dler"]

# The papers' constants are in tokens of long completions; here a cap of 200 tokens stands for some thousands. What is
# scaled is scaled by about that ratio. Not tuned: each was set once, before the first run was looked at.
METHODS: dict[str, list[str]] = {
    "grpo": [],
    "grpo_4": [],
    "length_penalty": [],
    "dler": ["reward.cap=80"],
    "curriculum": ["budget.start=120", "budget.end=40", "budget.interval=8"],
    "surrogate": ["reward.peak=0.25"],
    "drpo": ["objective.beta=0"],
    "grpo_lambda": [],
    "dot": ["truncation.margin=8"],
    "palu": [],
    "efficient": [],
    "lcpo_exact": ["budget.low=10", "reward.alpha=0.006"],
    "lcpo_max": ["budget.low=10", "reward.alpha=0.006"],
    "kimi": [],
    "overlong": ["reward.cache=60"],
    "laser": ["reward.target=45"],
    "laser_d": ["reward.low=16", "reward.step=8", "reward.refresh=5"],
    "shorter_better": ["reward.beta=0.02"],
    "gfpo": [],
    "thinkprune": ["budget.caps=[150,100,60]"],
    "grpo_lead": [],
    "alp": ["reward.beta=0.001"],
    "gr3": [],
    "tldr": [],
    "adaptive_thinking": [],
    "range": ["budget.lo=20", "budget.hi=60"],
    "weighted": ["reward.parts=[{name: correctness, weight: 1}, {name: overlong, weight: 0.5, cache: 60}]"],
}
# DOT's objective idles at one update a rollout; `grpo_4` is plain `grpo` with as many updates, to tell the two apart.
UPDATES = {"dot": 4, "grpo_4": 4}
RECIPES = {"grpo_4": "grpo"}  # of what is no recipe's name
NAMES = {"grpo_4": "grpo, 4 updates a rollout"}
ROWS = 64  # completions a rollout
SAMPLES = 2  # completions a test problem


@dataclass(frozen=True)
class Testbed:
    """A model, its task, and how many rollouts each method gets."""

    task: tuple[str, ...]  # of the training
    test: dict[str, Any]
    rollouts: int
    cap: int  # tokens
    easy: tuple[str, ...]  # difficulties shown by themselves
    hard: tuple[str, ...]
    hardest: tuple[str, ...]


SUMS = "task.config={min_terms: 2, max_terms: 6, min_digits: 1, max_digits: 1}"
TESTBEDS = {
    "mixed": Testbed(
        ("task=chain", "task.operands=[2,5,8,11]", "task.train=80", "task.dev=16"),
        {"name": "chain", "operands": [2, 5, 8, 11], "test": 240},
        40, 160, ("2",), ("5", "8"), ("11",),
    ),
    "sums": Testbed(
        ("task=gym", "task.generator=chain_sum", SUMS, "task.difficulty=num_terms", "task.template='{prompt}'",
         "verifier.kind=gym", "task.train=80", "task.dev=16"),
        {"name": "gym", "generator": "chain_sum", "template": "{prompt}", "test": 240, "difficulty": "num_terms",
         "config": {"min_terms": 2, "max_terms": 6, "min_digits": 1, "max_digits": 1}},
        25, 140, ("2",), ("3", "4"), ("6",),
    ),
}  # fmt: skip


def train(testbed: str, method: str, seed: int) -> Path:
    """Run (or find) one training run; its folder."""
    bed, folder = TESTBEDS[testbed], OUT / testbed / f"{method}-{seed}"
    if (folder / "summary.json").exists():
        return folder
    updates = UPDATES.get(method, 1)
    steps = updates * bed.rollouts
    overrides = [
        f"model.path=outputs/testbeds/{testbed}", *bed.task, "task.test=0", *METHODS[method],
        f"trainer.per_device_train_batch_size={ROWS // updates}", f"trainer.steps_per_generation={updates}",
        f"trainer.max_steps={steps}", f"trainer.max_completion_length={bed.cap}", "trainer.learning_rate=3.0e-4",
        f"trainer.save_steps={steps}", f"trainer.eval_steps={steps}", f"seed={seed}", f"output_dir={folder}",
    ]  # fmt: skip
    command = [sys.executable, "-m", "lenrl.cli", "train", RECIPES.get(method, method), *overrides]
    (OUT / "logs").mkdir(parents=True, exist_ok=True)
    with open(OUT / "logs" / f"{testbed}-{method}-{seed}.txt", "w") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    print(f"{folder}: {'done' if code == 0 else f'exit {code}, see {log.name}'}", file=sys.stderr, flush=True)
    return folder


def measure(testbed: str, folder: Path, model: str) -> None:
    """Sample the test problems once for each model; `test/` in the run's folder (of the base: beside them)."""
    bed = TESTBEDS[testbed]
    if (folder / "test" / "eval.json").exists():
        return
    seed = int(folder.name.rsplit("-", 1)[1])
    evaluate(
        [model], bed.test, samples=SAMPLES, max_new_tokens=bed.cap, seed=seed, out_dir=folder / "test",
        verifier_settings={"workers": 1},
    )  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Sampled test completions of a method: (prompts, seeds x samples), and the prompts' difficulties."""

    correct: np.ndarray
    tokens: np.ndarray
    difficulty: np.ndarray

    def of(self, kinds: tuple[str, ...]) -> Rows:
        chosen = np.isin(self.difficulty, kinds)
        return Rows(self.correct[chosen], self.tokens[chosen], self.difficulty[chosen])


@cache
def rows(testbed: str, method: str, seeds: tuple[int, ...]) -> Rows:
    """Of a method's trained models, or of `base`."""
    files = [OUT / testbed / f"{method}-{seed}" / "test" / "completions-0-sampled.parquet" for seed in seeds]
    tables = [pq.read_table(file).to_pydict() for file in files]
    first = tables[0]
    assert all(table["prompt_id"] == first["prompt_id"] for table in tables), "runs with other test problems"

    def beside(column: str) -> np.ndarray:
        return np.hstack([np.array(table[column], dtype=float).reshape(-1, SAMPLES) for table in tables])

    return Rows(beside("verdict"), beside("tokens"), np.array(first["difficulty"])[::SAMPLES])


def finished(testbed: str, method: str, seeds: list[int]) -> tuple[int, ...]:
    return tuple(s for s in seeds if (OUT / testbed / f"{method}-{s}" / "test" / "eval.json").exists())


def ranged(found: Estimate | None, digits: int) -> str:
    if found is None:
        return "—"
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def line(testbed: str, method: str, seeds: tuple[int, ...]) -> list[str]:
    """A method's row: sampled decoding, intervals over prompts, the seeds' completions of a prompt together."""
    bed, found = TESTBEDS[testbed], rows(testbed, method, seeds)
    spread = found.correct.reshape(-1, len(seeds), SAMPLES).mean(axis=(0, 2))
    cells = [str(len(seeds)), ranged(accuracy(found.correct), 3), ranged(mean_tokens(found.tokens), 1)]
    cells[1] += f" ({min(spread):.3f} to {max(spread):.3f})" if len(seeds) > 1 else ""
    for kinds in (bed.easy, bed.hard, bed.hardest):
        part = found.of(kinds)
        cells.append(f"{part.correct.mean():.2f} @ {part.tokens.mean():.0f}")
    return cells


def against_grpo(testbed: str, method: str, seeds: tuple[int, ...]) -> list[str]:
    """Paired differences to plain 0/1 reward of the same seeds."""
    both = tuple(s for s in seeds if s in finished(testbed, "grpo", list(seeds)))
    if not both or method == "grpo":
        return ["—", "—"]
    plain, found = rows(testbed, "grpo", both), rows(testbed, method, both)
    pair = compare(plain.correct, plain.tokens, found.correct, found.tokens)
    return [ranged(pair.accuracy_diff, 3), ranged(pair.tokens_ratio, 2)]


def linked(method: str, cards: str) -> str:
    return f"[{NAMES.get(method, f'`{method}`')}]({cards}/{RECIPES.get(method, method)}.md)"


def markdown(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines])


def table(testbed: str, seeds: list[int]) -> str:
    """All finished methods, fewest tokens last among equals: sorted by accuracy."""
    bed = TESTBEDS[testbed]
    labels = ["/".join(kinds) for kinds in (bed.easy, bed.hard, bed.hardest)]
    head = ["method", "seeds", "accuracy (seeds' range)", "tokens", *(f"difficulty {label}" for label in labels),
            "accuracy − grpo's", "tokens / grpo's"]  # fmt: skip
    done = {method: finished(testbed, method, seeds) for method in METHODS}
    done = {method: found for method, found in done.items() if found}
    order = sorted(done, key=lambda m: -rows(testbed, m, done[m]).correct.mean())
    lines = [["base", *line(testbed, "base", finished(testbed, "base", seeds)), "—", "—"]]
    lines += [
        [linked(m, "methods"), *line(testbed, m, done[m]), *against_grpo(testbed, m, done[m])] for m in order
    ]
    return markdown(head, lines)


def short_table(testbed: str, seeds: list[int]) -> str:
    """For the README: the six, what people would otherwise run, and the base."""
    lines = []
    for method in ["base", *RIVALS, *CORE]:
        found = finished(testbed, method, seeds)
        if found:
            seeds_used, scored, tokens, *parts = line(testbed, method, found)
            name = method if method == "base" else linked(method, "docs/methods")
            lines.append(
                [name, seeds_used, scored, tokens, *parts, *against_grpo(testbed, method, found)[:1]]
            )
    bed = TESTBEDS[testbed]
    labels = [f"{'/'.join(kinds)} operands" for kinds in (bed.easy, bed.hard, bed.hardest)]
    head = ["method", "seeds", "accuracy (seeds' range)", "tokens", *labels, "accuracy − grpo's"]
    return markdown(head, lines)


def picture(testbed: str, seeds: list[int], path: Path) -> None:
    """Accuracy over tokens; colours for the six, `grpo` and the rest."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "lenrl"
    figure, axes = plt.subplots(figsize=(8.4, 5.2))
    for method in ["base", *METHODS]:
        found = finished(testbed, method, seeds)
        if not found:
            continue
        data = rows(testbed, method, found)
        x, y = mean_tokens(data.tokens), accuracy(data.correct)
        assert y is not None
        colour = "#777777" if method == "base" else "#2ca02c" if method in CORE else "#1f77b4"
        axes.errorbar(
            x.value, y.value, xerr=[[x.value - x.low], [x.high - x.value]],
            yerr=[[y.value - y.low], [y.high - y.value]], fmt="o", color=colour, ms=4, lw=0.8, alpha=0.9,
        )  # fmt: skip
        axes.annotate(method, (x.value, y.value), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set(xlabel="sampled tokens a problem", ylabel="sampled accuracy")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def fill(path: Path, mark: str, text: str) -> None:
    """Put a text between `<!-- MARK:begin -->` and `<!-- MARK:end -->` of a file."""
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    before = path.read_text()
    assert begin in before, f"{path} has no {begin}"
    after = re.sub(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", before, flags=re.S
    )
    path.write_text(after)


def write(seeds: list[int]) -> None:
    """docs/results.md, its pictures and the cards."""
    docs = ROOT / "docs"
    for testbed in TESTBEDS:
        if finished(testbed, "grpo", seeds):
            image = f"![accuracy over tokens, testbed {testbed}]({testbed}.svg)"
            fill(docs / "results.md", testbed, f"{image}\n\n{table(testbed, seeds)}")
            picture(testbed, seeds, docs / f"{testbed}.svg")
    fill(ROOT / "README.md", "mixed", short_table("mixed", seeds))
    for method, options in METHODS.items():
        if method in RECIPES:
            continue
        lines = []
        for testbed in TESTBEDS:
            found = finished(testbed, method, seeds)
            if found:
                cells = [f"`{testbed}`", *line(testbed, method, found), *against_grpo(testbed, method, found)]
                lines.append(cells)
        if not lines:
            continue
        head = ["testbed", "seeds", "accuracy (seeds' range)", "tokens", "easy", "hard", "hardest",
                "accuracy − grpo's", "tokens / grpo's"]  # fmt: skip
        scaled = ", ".join(f"`{option}`" for option in options) or "the recipe's own"
        text = f"Options: {scaled}. All methods, and what the testbeds are: [results](../results.md).\n\n"
        fill(docs / "methods" / f"{method}.md", "measured", text + markdown(head, lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--testbed", choices=TESTBEDS, default="mixed")
    parser.add_argument("--methods", nargs="+", default=["all"], help="names, or core, rivals, all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each with its share of the cores")
    parser.add_argument("--print", action="store_true", help="the table of what is finished; trains nothing")
    parser.add_argument("--write", action="store_true", help="into docs/; trains nothing")
    given = parser.parse_args()
    if not (given.print or given.write):
        groups = {"all": list(METHODS), "core": CORE, "rivals": RIVALS}
        names = [name for word in given.methods for name in groups.get(word, [word])]
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // given.jobs))
        with ThreadPoolExecutor(given.jobs) as pool:
            wanted = [(given.testbed, name, seed) for seed in given.seeds for name in dict.fromkeys(names)]
            folders = list(pool.map(lambda run: train(*run), wanted))
        for seed in given.seeds:
            measure(given.testbed, OUT / given.testbed / f"base-{seed}", f"outputs/testbeds/{given.testbed}")
        for folder in folders:
            if (folder / "summary.json").exists():
                measure(given.testbed, folder, str(folder))
    if given.write:
        write(given.seeds)
    else:
        print(table(given.testbed, given.seeds))


if __name__ == "__main__":
    main()
