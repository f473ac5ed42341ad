#!/usr/bin/env python3
"""Compares the gradients of the lean update with those of TRL's own path, and prints a table.

    scripts/gradients.py                            # every loss on one process, then on two, DDP and sharded
    scripts/gradients.py --launch cpu --only drpo   # cells whose name holds one of these words
    scripts/gradients.py --table                    # only what is known

A cell is a loss with what it may meet: several updates a rollout, LoRA, checkpointed activations, terms that need every
row. It trains twice on the same prepared completions, `update.lean=false` and `true`, two optimizer steps of two
micro-batches each; the greatest relative difference of a step's gradient must be at most 1e-5.

zero2 and zero3 need deepspeed (docs/gpus.md). Results go to --out; the same command again does what is missing or
failed. Exit code 1: something differs or failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.training.lean_gradients import CELLS, SHARDED, allowed
from tests.training.runs import launch
from tests.training.sharded import WRAPPED

MOST = 1e-5
AT_ONCE = 6  # cells a launch: it has ten minutes


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/gradients"))
    parser.add_argument("--launch", action="append", choices=["cpu", *WRAPPED])
    parser.add_argument("--only", action="append", metavar="WORD", help="cells whose name holds the word")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    out, bad = options.out.absolute(), 0
    print("| launch | loss | difference | useful tokens, TRL | lean |\n| --- | --- | --- | --- | --- |")
    for name in options.launch or ["cpu", *WRAPPED]:
        if name.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
            print(f"{name}: deepspeed is not installed, see docs/gpus.md", file=sys.stderr)
            continue
        cells = [cell for cell in (CELLS if name == "cpu" else SHARDED) if allowed(name, cell)]
        cells = [cell for cell in cells if not options.only or any(word in cell for word in options.only)]
        missing = [cell for cell in cells if not holds(out / name / f"{cell}.json")]
        for place in range(0, 0 if options.table else len(missing), AT_ONCE):
            done = launch("lean_gradients.py", out / name, *missing[place : place + AT_ONCE], name=name)
            if done.returncode:
                print(f"{name}: exit code {done.returncode}\n{done.stderr[-2000:]}", file=sys.stderr)
        for cell in cells:
            path = out / name / f"{cell}.json"
            bad += not holds(path)
            print(line(name, cell, path), flush=True)
    return int(bad > 0)


def holds(path: Path) -> bool:
    """The cell has been measured, and its gradients are equal."""
    return path.exists() and json.loads(path.read_text())["difference"] <= MOST


def line(name: str, cell: str, path: Path) -> str:
    """A row of the table."""
    if not path.exists():
        return f"| `{name}` | {cell} | not measured | | |"
    found = json.loads(path.read_text())
    apart = f"{found['difference']:.0e}" + ("" if found["difference"] <= MOST else " **differs**")
    return f"| `{name}` | {cell} | {apart} | {found['useful_trl']:.2f} | {found['useful']:.2f} |"


if __name__ == "__main__":
    sys.exit(main())
