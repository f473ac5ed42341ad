#!/usr/bin/env python3
"""Every method on one testbed at equal prompts: accuracy against tokens, by seed and by difficulty.

    scripts/make_testbeds.py
    scripts/compare_methods.py --seeds 0 1 2 --jobs 2           # a rerun continues
    scripts/compare_methods.py --testbed sums --methods core --seeds 0
    scripts/compare_methods.py --seeds 0 1 2 --write            # the tables of what is finished, into docs/

compare_methods.yaml holds the methods and their constants. outputs/compare/TESTBED/ gets a `lenrl sweep` over seeds for
each method, a `lenrl eval` of each model (tests/METHOD-SEED), and the page of `lenrl compare`. method_tables.py makes
the tables, in which a method's seeds share a row; `--write` puts them into docs/results.md and the cards.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from method_tables import OUT, PLAN, SAMPLES, all_methods, write

SEEDS = range(10)  # of a sweep, of which --seeds chooses


def lenrl(log: Path, *words: str | Path) -> bool:
    """Run one command; its output goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        command = [sys.executable, "-m", "lenrl.cli", *map(str, words)]
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    print(
        f"{words[0]} {log.stem}: {f'exit {code}, see {log}' if code else 'done'}", file=sys.stderr, flush=True
    )
    return code == 0


def measure(testbed: str, method: str, seed: int) -> None:
    """Train a method at a seed, and sample the test problems; the base is only sampled."""
    bed, base = PLAN["testbeds"][testbed], f"outputs/testbeds/{testbed}"
    out, sweep = OUT / testbed / "tests" / f"{method}-{seed}", OUT / testbed / method
    if (out / "eval.json").exists():
        return
    log, cap = OUT / testbed / "logs" / f"{out.name}.txt", bed["cap"]
    updates = PLAN["updates"].get(method, 1)
    steps = updates * bed["rollouts"]
    settings = [
        "model=tiny", f"model.path={base}", *bed["task"], "task.train=80", "task.dev=16", "task.test=0",
        f"trainer.per_device_train_batch_size={64 // updates}", f"trainer.steps_per_generation={updates}",
        f"trainer.max_steps={steps}", f"trainer.max_completion_length={cap}", "trainer.learning_rate=3.0e-4",
        f"trainer.save_steps={steps}", f"trainer.eval_steps={steps}", f"seed={','.join(map(str, SEEDS))}",
        f"output_dir={sweep}", *PLAN["methods"].get(method, []),
    ]  # fmt: skip
    recipe = PLAN["recipes"].get(method, method)
    if method == "base" or lenrl(log, "sweep", recipe, *settings, "--trial", str(seed)):
        model = base if method == "base" else sweep / f"trial-{seed:03d}"
        sampling = [f"samples={SAMPLES}", f"max_new_tokens={cap}", f"seed={seed}"]
        task = [*bed["task"], "task.test=240", "verifier.workers=1"]
        lenrl(log, "eval", model, *task, *sampling, "--out", out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--testbed", choices=PLAN["testbeds"], default="mixed")
    parser.add_argument("--methods", nargs="+", default=["all"], help="names, or core, rivals, all")
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=[0, 1, 2], metavar="SEED")
    parser.add_argument(
        "--jobs", type=int, default=1, help="methods at once, each with its share of the cores"
    )
    parser.add_argument("--write", action="store_true", help="into docs/; trains nothing")
    options = parser.parse_args()
    if options.write:
        return write(options.seeds)
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.jobs))
    groups = {"all": list(PLAN["methods"]), "core": PLAN["core"], "rivals": PLAN["rivals"]}
    names = ["base", *dict.fromkeys(name for word in options.methods for name in groups.get(word, [word]))]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda name: [measure(options.testbed, name, seed) for seed in options.seeds], names))
    out = OUT / options.testbed
    models = sorted(
        (out / "tests").iterdir(), key=lambda path: (not path.name.startswith("grpo-"), path.name)
    )
    lenrl(
        out / "logs" / "compare.txt",
        "compare",
        *models,
        "--out",
        out / "report.html",
        "--figures",
        out / "figures",
    )
    print(all_methods(options.testbed, options.seeds))


if __name__ == "__main__":
    main()
