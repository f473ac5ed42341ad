#!/usr/bin/env python3
"""Measures the tables of docs/results.md: the demo's method, plain 0/1 reward and length penalties, by seed.

    scripts/results.py                     # all of it, about 25 minutes on two CPU cores
    scripts/results.py --seeds 0 --only seeds

Every run is a `lenrl train` of its own; finished ones are not run again, so a stopped measurement continues.
The tables go to standard output as Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

OUT = Path("outputs/results")
PLAIN = ["reward=correctness", "advantage=grpo", "objective=trl", "trainer.loss_type=grpo"]
PENALTIES = [0.5, 1, 2, 5, 10]  # taken off the reward per 100 tokens


def train(name: str, overrides: list[str]) -> Path:
    """Run (or find) one training run; its folder."""
    folder = OUT / name
    if not (folder / "eval.json").exists():
        command = [sys.executable, "-m", "lenrl.cli", "train", "demo", *overrides, f"output_dir={folder}"]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return folder


def entries(folder: Path) -> dict[tuple[bool, str], dict]:
    """(is trained, decoding) -> entry of `eval.json`."""
    found = json.loads((folder / "eval.json").read_text())["models"]
    base = found[0]["model"]
    return {(m["model"] != base, _decoding(m)): m for m in found}


def _decoding(entry: dict) -> str:
    decoding = entry["decoding"]
    kind = decoding if isinstance(decoding, str) else decoding.get("kind", "")
    return "greedy" if "greedy" in str(kind) else "sampled"


def cells(found: dict, trained: bool) -> list[str]:
    cell = []
    for decoding in ("sampled", "greedy"):
        entry = found[trained, decoding]
        low, high = entry["accuracy_ci95"]
        cell.append(f"{entry['accuracy']:.3f} [{low:.3f}, {high:.3f}]")
        low, high = entry["tokens_mean_ci95"]
        cell.append(f"{entry['tokens_mean']:.1f} [{low:.1f}, {high:.1f}]")
    return cell


def table(rows: list[list[str]], first: list[str]) -> str:
    head = [*first, "sampled accuracy", "sampled tokens", "greedy accuracy", "greedy tokens"]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def mean_cells(founds: list[dict], trained: bool) -> list[str]:
    cell = []
    for decoding in ("sampled", "greedy"):
        for key, digits in (("accuracy", 3), ("tokens_mean", 1)):
            values = [found[trained, decoding][key] for found in founds]
            mean, low, high = sum(values) / len(values), min(values), max(values)
            cell.append(f"**{mean:.{digits}f}** ({low:.{digits}f} to {high:.{digits}f})")
    return cell


def seeds_table(seeds: list[int]) -> str:
    rows, runs = [], {"demo's method": [], "0/1 reward": []}
    for seed in seeds:
        runs["demo's method"].append(entries(train(f"method-{seed}", [f"seed={seed}"])))
        runs["0/1 reward"].append(entries(train(f"plain-{seed}", [*PLAIN, f"seed={seed}"])))
    for i, seed in enumerate(seeds):
        rows.append(["base", str(seed), *cells(runs["demo's method"][i], False)])
        rows += [[name, str(seed), *cells(found[i], True)] for name, found in runs.items()]
    everything = runs["demo's method"]
    rows.append(["base", "mean (range)", *mean_cells(everything, False)])
    rows += [[name, "mean (range)", *mean_cells(found, True)] for name, found in runs.items()]
    return table(rows, ["run", "seed"])


def penalties_table(seed: int) -> str:
    rows = []
    for per_100 in PENALTIES:
        # the reward is correct - weight * tokens / cap; the cap is the demo's own
        weight = f"reward.weight={per_100 * demo_cap() / 100:g}"
        overrides = ["reward=length_penalty", weight, *PLAIN[1:]]
        found = entries(train(f"penalty-{per_100:g}-{seed}", [*overrides, f"seed={seed}"]))
        rows.append([f"{per_100:g}", *cells(found, True)])
    return table(rows, ["penalty per 100 tokens"])


def rechecks_table(seeds: list[int]) -> str:
    """The base's sampled completions by how often they begin anew with `Wait`, and what a re-check is worth."""
    import pyarrow.parquet as pq

    found: dict[str, list[dict]] = {}
    for seed in seeds:
        for row in pq.read_table(OUT / f"method-{seed}" / "completions-0-sampled.parquet").to_pylist():
            steps = "=" in row["completion"]
            kind = str(row["completion"].count("Wait")) if steps else "answers directly"
            found.setdefault(kind, []).append(row)
    rows = []
    for kind, members in sorted(found.items()):
        operands = sum(int(m["difficulty"]) for m in members) / len(members)
        tokens = sum(m["tokens"] for m in members) / len(members)
        rows.append([kind, str(len(members)), f"{operands:.1f}", f"{right(members):.3f}", f"{tokens:.1f}"])
    head = ["re-checks", "completions", "operands", "accuracy", "tokens"]
    lines = "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])
    again = [m for kind, members in found.items() if kind.isdigit() and kind != "0" for m in members]
    worth = 0.0  # of a re-check at the same number of operands, weighted by the completions with one
    for operands in {m["difficulty"] for m in again}:
        with_one = [m for m in again if m["difficulty"] == operands]
        without = [m for m in found["0"] if m["difficulty"] == operands]
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
    groups = [("base", "#777777", "o", [OUT / f"method-{s}" for s in seeds], False)]
    groups += [("0/1 reward", "#1f77b4", "s", [OUT / f"plain-{s}" for s in seeds], True)]
    groups += [("demo's method", "#2ca02c", "D", [OUT / f"method-{s}" for s in seeds], True)]
    penalties = [OUT / f"penalty-{p:g}-{seeds[0]}" for p in PENALTIES]
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


def demo_cap() -> int:
    from lenrl.config import compose

    return int(compose("demo").trainer["max_completion_length"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=["seeds", "penalties"])
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw accuracy over tokens")
    given = parser.parse_args()
    if given.only != "penalties":
        print("## Three seeds\n\n" + seeds_table(given.seeds) + "\n")
        print("## The base's re-checks\n\n" + rechecks_table(given.seeds) + "\n")
    if given.only != "seeds":
        print(f"## Ungated length penalties, seed {given.seeds[0]}\n\n" + penalties_table(given.seeds[0]))
    if given.picture:
        picture(given.seeds, given.picture)


if __name__ == "__main__":
    main()
