#!/usr/bin/env python3
"""Recipes trained on the embedded model, and how near the guards came to speaking (docs/guards.md).

    scripts/survey_guards.py                              # all without a download, 12 rollouts: 15 minutes of a core
    scripts/survey_guards.py grpo dot drpo --rollouts 0   # these, for as many as their recipes say

Of each run: a counter at its highest, with the rollouts in a row at which its guard speaks. Exit code 1: one spoke.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
import warnings
from pathlib import Path

from lenrl.config import compose, recipe_files
from lenrl.errors import RunFailed
from lenrl.run_process import run
from lenrl.training.guards import GUARDS

QUIET = (
    "trainer.eval_steps=0",
    "trainer.save_steps=0",
    "task.dev=0",
    "task.test=0",
    "logging.completions=false",
)


def names() -> list[str]:
    """Recipes on the embedded model."""
    return sorted(name for name in recipe_files() if "/" not in name and name != "base")


def survey(name: str, rollouts: int, folder: Path) -> bool:
    """Train, print a line; a guard spoke."""
    shutil.rmtree(folder, ignore_errors=True)
    recipe = compose(name)
    steps = rollouts * recipe.update.per_rollout if rollouts else recipe.trainer["max_steps"]
    began, end = time.monotonic(), ""
    try:
        run(compose(name, [*QUIET, f"trainer.max_steps={steps}", f"output_dir={folder}"]))
    except RunFailed as fault:
        end = f"; ended: {fault}"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    spoke, near = [], []
    for guard in GUARDS:
        rule = recipe.guard.rule(guard.name)
        most = max((line.get(f"guard_{guard.name}") or 0 for line in lines), default=0)
        if rule is not None and most:
            near.append(f"{guard.name} {most} of {rule.rollouts}")
            spoke += [guard.name] * (most >= rule.rollouts)
    said = f"SPOKE: {', '.join(spoke)}; " if spoke else ""
    done = len(lines) // recipe.update.per_rollout
    seconds = time.monotonic() - began
    print(f"{name}: {done} rollouts, {seconds:.0f} s: {said}{', '.join(near) or 'nothing'}{end}", flush=True)
    return bool(spoke or end)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="default: all")
    parser.add_argument("--rollouts", type=int, default=12, help="of each; 0: as its recipe says")
    parser.add_argument("--out", type=Path, default=Path("outputs/guards"), help="folder of the runs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = options.recipes or names()
    spoke = [name for name in chosen if survey(name, options.rollouts, (options.out / name).absolute())]
    print(f"{len(chosen)} recipes; a guard spoke in {len(spoke)}: {', '.join(spoke) or 'none'}")
    return int(bool(spoke))


if __name__ == "__main__":
    sys.exit(main())
