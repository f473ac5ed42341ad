#!/usr/bin/env python3
"""Tables of docs/results.md: the demo's method, plain 0/1 reward and length penalties, by seed.

    scripts/results.py                     # all of it, about 25 minutes on two CPU cores
    scripts/results.py --seeds 0 --only seeds

outputs/results/ gets a `lenrl sweep` over seeds for each of the first two, and one over penalties; a rerun continues.
The tables go to standard output as Markdown, which `lenrl compare outputs/results/*` does not write.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from lenrl.config import compose
from lenrl.files import read_json
from lenrl.measures.format import with_interval

OUT = Path("outputs/results")
PLAIN = ["reward=correctness", "advantage=grpo", "objective=trl", "trainer.loss_type=grpo"]
FIGURES = (("accuracy", 3), ("tokens_mean", 1))  # of `eval.json`, with digits
HEAD = ["sampled accuracy", "sampled tokens", "greedy accuracy", "greedy tokens"]
PENALTIES = [0.5, 1, 2, 5, 10]  # taken off the reward per 100 tokens
CONTROLS = {
    "stop@3": "`stop@3`, a bias on the end of thinking",
    "brake@5": "`brake@5`, stops where stopping is likely",
    "exit@0.95": "`exit@0.95`, stops when sure of a trial answer",
}
WORDS = r'eval.control={trial:"\boxed{"}'  # the base's own
CONTROLLED = [f"eval.controls=[{','.join(CONTROLS)}]", WORDS]
SEEDS = range(10)  # of a sweep, of which --seeds chooses


def run(name: str, trial: int) -> Path:
    """The folder of a sweep's trial."""
    return OUT / name / f"trial-{trial:03d}"


def swept(name: str, settings: list[str], trials: Iterable[int]) -> list[dict[tuple[bool, str], dict]]:
    """Trials of a sweep of the demo: of each, (is trained, decoding) -> entry of `eval.json`."""
    for trial in trials:
        command = [sys.executable, "-m", "lenrl.cli", "sweep", "demo", *settings, "--trial", str(trial)]
        subprocess.run([*command, f"output_dir={OUT / name}"], check=True, stdout=sys.stderr)
    return [entries(run(name, trial)) for trial in trials]


def entries(folder: Path, control: str = "none") -> dict[tuple[bool, str], dict]:
    models = read_json(folder / "eval.json")["models"]
    return {
        (entry["model"] != models[0]["model"], entry["decoding"]): entry
        for entry in models
        if entry["control"] == control
    }


def cells(evaluation: dict, trained: bool) -> list[str]:
    return [
        with_interval(entry[key], entry[f"{key}_ci95"], f"{{:.{digits}f}}".format)
        for entry in (evaluation[trained, "sampled"], evaluation[trained, "greedy"])
        for key, digits in FIGURES
    ]


def mean_cells(evaluations: list[dict], trained: bool) -> list[str]:
    cells = []
    for decoding in ("sampled", "greedy"):
        for key, digits in FIGURES:
            values = [evaluation[trained, decoding][key] for evaluation in evaluations]
            mean, low, high = sum(values) / len(values), min(values), max(values)
            cells.append(f"**{mean:.{digits}f}** ({low:.{digits}f} to {high:.{digits}f})")
    return cells


def markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def seeds_table(seeds: list[int]) -> str:
    axis = f"seed={','.join(map(str, SEEDS))}"
    method, plain = swept("method", [*CONTROLLED, axis], seeds), swept("plain", [*PLAIN, axis], seeds)
    models = {"base": (method, False), "demo's method": (method, True), "0/1 reward": (plain, True)}
    for control, name in CONTROLS.items():
        models[name] = ([entries(run("method", seed), control) for seed in seeds], False)
    rows = [
        [name, str(seed), *cells(evaluations[place], trained)]
        for place, seed in enumerate(seeds)
        for name, (evaluations, trained) in models.items()
    ]
    rows += [[name, "mean (range)", *mean_cells(*model)] for name, model in models.items()]
    return markdown(["run", "seed", *HEAD], rows)


def penalties_table(seed: int) -> str:
    # The reward is correct - weight * tokens / cap; the cap is the demo's own.
    cap = int(compose("demo").trainer["max_completion_length"])
    weights = ",".join(f"{per_100 * cap / 100:g}" for per_100 in PENALTIES)
    settings = ["reward=length_penalty", f"reward.weight={weights}", *PLAIN[1:], f"seed={seed}"]
    evaluations = swept(f"penalty-{seed}", settings, range(len(PENALTIES)))
    rows = [[f"{p:g}", *cells(e, True)] for p, e in zip(PENALTIES, evaluations, strict=True)]
    return markdown(["penalty per 100 tokens", *HEAD], rows)


def rechecks_table(seeds: list[int]) -> str:
    """The base's sampled completions by how often they begin anew with `Wait`, and what a re-check is worth."""
    kinds: dict[str, list[dict]] = {}
    for seed in seeds:
        for row in pq.read_table(run("method", seed) / "completions-0-sampled.parquet").to_pylist():
            steps = "=" in row["completion"]
            kind = str(row["completion"].count("Wait")) if steps else "answers directly"
            kinds.setdefault(kind, []).append(row)
    rows = []
    for kind, members in sorted(kinds.items()):
        operands = sum(int(m["difficulty"]) for m in members) / len(members)
        tokens = sum(m["tokens"] for m in members) / len(members)
        rows.append([kind, str(len(members)), f"{operands:.1f}", f"{right(members):.3f}", f"{tokens:.1f}"])
    lines = markdown(["re-checks", "completions", "operands", "accuracy", "tokens"], rows)
    again = [m for kind, members in kinds.items() if kind.isdigit() and kind != "0" for m in members]
    worth = 0.0  # of a re-check at the same number of operands, weighted by the completions with one
    for operands in {m["difficulty"] for m in again}:
        with_one = [m for m in again if m["difficulty"] == operands]
        without = [m for m in kinds["0"] if m["difficulty"] == operands]
        worth += len(with_one) / len(again) * (right(with_one) - right(without))
    return f"{lines}\n\nAt the same number of operands, with a re-check against without: {worth:+.3f}."


def right(rows: list[dict]) -> float:
    return sum(bool(row["verdict"]) for row in rows) / len(rows)


def picture(seeds: list[int], path: Path) -> None:
    """Accuracy over tokens of every run there is: base, 0/1, the demo's method, penalties."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "lenrl"
    figure, axes = plt.subplots(figsize=(7.2, 4.0))
    groups = [("base", "#777777", "o", [run("method", s) for s in seeds], False)]
    groups += [("0/1 reward", "#1f77b4", "s", [run("plain", s) for s in seeds], True)]
    groups += [("demo's method", "#2ca02c", "D", [run("method", s) for s in seeds], True)]
    penalties = [run(f"penalty-{seeds[0]}", i) for i in range(len(PENALTIES))]
    groups += [("ungated penalty, mild to strong", "#d62728", "v", penalties, True)]
    for label, colour, marker, folders, trained in groups:
        for i, folder in enumerate(f for f in folders if (f / "eval.json").exists()):
            entry = entries(folder)[trained, "sampled"]
            x, y = entry["tokens_mean"], entry["accuracy"]
            (x0, x1), (y0, y1) = entry["tokens_mean_ci95"], entry["accuracy_ci95"]
            axes.errorbar(
                x, y, xerr=[[x - x0], [x1 - x]], yerr=[[y - y0], [y1 - y]], fmt=marker, color=colour,
                ms=6, lw=1, label=label if i == 0 else None,
            )  # fmt: skip
    axes.set(xlabel="sampled tokens a problem", ylabel="sampled accuracy", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--only", choices=["seeds", "penalties"])
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw accuracy over tokens")
    options = parser.parse_args()
    if options.only != "penalties":
        print("## Three seeds\n\n" + seeds_table(options.seeds) + "\n")
        print("## The base's re-checks\n\n" + rechecks_table(options.seeds) + "\n")
    if options.only != "seeds":
        print(f"## Ungated length penalties, seed {options.seeds[0]}\n\n" + penalties_table(options.seeds[0]))
    if options.picture:
        picture(options.seeds, options.picture)


if __name__ == "__main__":
    main()
