#!/usr/bin/env python3
"""Every method as a curve: each at several strengths and seeds, with equal samples and equal updates.

    scripts/make_testbeds.py --only mixed
    scripts/atlas.py --methods core rivals --jobs 2             # a rerun continues where it was stopped
    scripts/atlas.py --methods newest --seeds 0 --default       # one run each, at its recipe's strength
    scripts/atlas.py --methods grpo --seeds 3 4 5 6 7 8 9       # grpo against itself: what chance alone looks like
    scripts/atlas.py --again efficient 10                       # trains a cell anew: are its weights the same?
    scripts/atlas.py --write                                    # tables and pictures of what is finished, into docs/
    scripts/atlas.py --compare                                  # a page of lenrl compare of all of it

atlas.yaml holds methods, dials and testbeds. outputs/atlas/TESTBED/ gets a `lenrl sweep` of each method over its dial
and the seeds, a `lenrl eval` of each model on the testbed's tests (tests/TEST/METHOD-TRIAL), and of the base under
training-free controls (tests/TEST/base-SEED). --compare adds a page of all of a test (TEST.html).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PLAN = yaml.safe_load((Path(__file__).parent / "atlas.yaml").read_text())
OUT = Path("outputs/atlas")
SEEDS = range(10)  # of a sweep, of which --seeds chooses
COMPARED = SEEDS[:3]  # of every method; further ones of grpo say how far chance alone leads
UPDATES = 4  # of a rollout: DOT's objective idles at one
COMPLETIONS = 64  # a rollout, but where a testbed says otherwise
SAMPLES = 2  # completions a test problem, but where a testbed says otherwise


@dataclass(frozen=True)
class Cell:
    """A method's run at one place of its dial and one seed."""

    bed: str
    method: str
    place: int
    seed: int

    @property
    def trial(self) -> int:
        return self.place * len(SEEDS) + self.seed

    @property
    def folder(self) -> Path:
        return OUT / self.bed / self.method / f"trial-{self.trial:03d}"

    def tested(self, test: str, further: bool = False) -> Path:
        """Folder of its evaluation; `further`: under the controls that need other options."""
        return (
            OUT / self.bed / "tests" / test / f"{self.method}-{self.trial:03d}{'-further' if further else ''}"
        )


@dataclass(frozen=True)
class Curve:
    """A method on a testbed."""

    bed: str
    method: str

    @property
    def plan(self) -> dict[str, Any]:
        return PLAN["methods"][self.method]

    @property
    def dial(self) -> tuple[str | None, list[Any]]:
        """The option that is turned, and its values from mild to strong; without one, one place."""
        key, values = next(iter(self.plan.get("dial", {}).items()), (None, [None]))
        one = PLAN["testbeds"][self.bed].get("one_place")
        return (key, [values[self._own(len(values))]]) if one else (key, values)

    def cells(self, seeds: Sequence[int], places: Sequence[int] | None = None) -> list[Cell]:
        every = range(len(self.dial[1])) if places is None else places
        return [Cell(self.bed, self.method, place, seed) for place in every for seed in seeds]

    @property
    def own(self) -> int:
        """The place of the recipe's own value, or of what stands for it."""
        return self._own(len(self.dial[1]))

    def _own(self, places: int) -> int:
        return min(self.plan.get("own", 1), places - 1)

    def sweep(self, folder: Path) -> list[str]:
        """Words of the command line."""
        bed, (key, values) = PLAN["testbeds"][self.bed], self.dial
        steps = UPDATES * bed["rollouts"]
        axes = [f"{key}={','.join(map(str, values))}"] if key else []
        return [
            "sweep", self.method, f"model={bed.get('model', 'tiny')}", f"model.path={bed['base']}", *bed["task"],
            "task.dev=16", "task.test=0", f"trainer.generation_batch_size={bed.get('completions', COMPLETIONS)}",
            f"update.per_rollout={UPDATES}", f"trainer.max_steps={steps}",
            f"trainer.max_completion_length={bed['cap']}", f"trainer.learning_rate={bed['learning_rate']}",
            f"trainer.save_steps={bed.get('save_updates', steps)}",
            f"trainer.eval_steps={steps}", "guard.collapse.action=warn", *bed.get("settings", []),
            *self.plan.get("settings", []), *axes, f"seed={','.join(map(str, SEEDS))}", f"output_dir={folder}",
        ]  # fmt: skip


def samples(bed: str) -> int:
    """Completions a test problem."""
    return PLAN["testbeds"][bed].get("samples", SAMPLES)


def lenrl(log: Path, *words: str | Path) -> bool:
    """Run one command; its output goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        command = [sys.executable, "-m", "lenrl.cli", *map(str, words)]
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    said = f"exit {code}, see {log}" if code else "done"
    print(f"{words[0]} {log.stem}: {said}", file=sys.stderr, flush=True)
    return code == 0


def run(cell: Cell) -> bool:
    """Train a cell and sample the test problems; whether both went well."""
    bed = PLAN["testbeds"][cell.bed]
    if all((cell.tested(test) / "eval.json").exists() for test in bed["tests"]):
        return True
    log = OUT / cell.bed / "logs" / f"{cell.folder.parent.name}-{cell.trial:03d}.txt"
    curve = Curve(cell.bed, cell.method)
    spoken = ["hints=true"] if curve.plan.get("words") else []
    return lenrl(log, *curve.sweep(cell.folder.parent), "--trial", str(cell.trial)) and all(
        measure(log, cell.bed, test, cell.folder, f"seed={cell.seed}", *spoken, out=cell.tested(test))
        for test in bed["tests"]
    )


def measure(log: Path, bed: str, test: str, model: str | Path, *settings: str, out: Path) -> bool:
    plan = PLAN["testbeds"][bed]
    sampling = [f"samples={samples(bed)}", f"max_new_tokens={plan['cap']}", "verifier.workers=1"]
    return lenrl(log, "eval", model, *plan["tests"][test], *sampling, *settings, "--out", out)


def base(bed: str, seed: int) -> bool:
    """Sample the test problems from the base; those of the first test under the controls too."""
    plan = PLAN["testbeds"][bed]
    log = OUT / bed / "logs" / f"base-{seed:03d}.txt"
    cell, first = Cell(bed, "base", 0, seed), next(iter(plan["tests"]))
    wanted = {cell.tested(test): (test, []) for test in plan["tests"]}
    wanted[cell.tested(first)] = first, [f"controls=[{','.join(plan['controls'])}]", *plan["control"]]
    if further := plan.get("further"):
        options = [f"controls=[{','.join(further['controls'])}]", *further["control"]]
        wanted[cell.tested(first, further=True)] = first, options
    return all(
        (out / "eval.json").exists()
        or measure(log, bed, test, plan["base"], f"seed={seed}", *controls, out=out)
        for out, (test, controls) in wanted.items()
    )


def html_page(bed: str, test: str) -> bool:
    """One page of all that was measured on a test."""
    measured = sorted((OUT / bed / "tests" / test).glob("*-*/eval.json"))
    log, page = OUT / bed / "logs" / f"compare-{test}.txt", OUT / bed / f"{test}.html"
    return lenrl(log, "compare", *(file.parent for file in measured), "--out", page)


def again(cell: Cell) -> bool:
    """Train a cell anew, elsewhere; whether its weights are the same."""
    elsewhere = OUT / cell.bed / "again" / cell.method
    words = Curve(cell.bed, cell.method).sweep(elsewhere)
    lenrl(elsewhere.with_suffix(".txt"), *words, "--trial", str(cell.trial))
    digests = [
        hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()
        for folder in (cell.folder, elsewhere / cell.folder.name)
    ]
    print(*digests, "equal" if digests[0] == digests[1] else "DIFFERENT")
    return digests[0] == digests[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--testbed", choices=PLAN["testbeds"], default="mixed")
    parser.add_argument(
        "--methods", nargs="+", default=["core", "rivals"], help="names, or groups of atlas.yaml"
    )
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=COMPARED, metavar="SEED")
    parser.add_argument("--default", action="store_true", help="one place of each dial, the recipe's own")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each with its share of the cores")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="in all runs")
    parser.add_argument(
        "--again", nargs=2, metavar=("METHOD", "TRIAL"), help="repeat a cell, compare weights"
    )
    parser.add_argument("--write", action="store_true", help="tables and pictures; trains nothing")
    parser.add_argument("--compare", action="store_true", help="pages of the testbed; trains nothing")
    options = parser.parse_args()
    PLAN["testbeds"][options.testbed].setdefault("settings", []).extend(options.set)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    if options.write:
        from atlas_tables import write

        write()
        return 0
    if options.compare:
        pages = [html_page(options.testbed, test) for test in PLAN["testbeds"][options.testbed]["tests"]]
        return 0 if all(pages) else 1
    if options.again:
        place, seed = divmod(int(options.again[1]), len(SEEDS))
        return 0 if again(Cell(options.testbed, options.again[0], place, seed)) else 1
    names = dict.fromkeys(name for word in options.methods for name in PLAN["groups"].get(word, [word]))
    curves = [Curve(options.testbed, name) for name in names]
    cells = [
        cell
        for seed in options.seeds
        for curve in curves
        for cell in curve.cells([seed], [curve.own] if options.default else None)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        work = [pool.submit(base, options.testbed, seed) for seed in options.seeds if seed in COMPARED]
        work += [pool.submit(run, cell) for cell in cells]
    return 0 if all(one.result() for one in work) else 1


if __name__ == "__main__":
    sys.exit(main())
