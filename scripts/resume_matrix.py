#!/usr/bin/env python3
"""Cuts runs after every step and compares what they end with: same tensors, same completions, same figures.

    scripts/resume_matrix.py                          # every cut of every cell, then 20 pairs of cuts
    scripts/resume_matrix.py --only drpo --only dot   # cells whose name holds one of these words
    scripts/resume_matrix.py --cut 6                  # of every cell this cut only: a tenth of the time
    scripts/resume_matrix.py --pairs-only

A cell is a method, steps_per_generation 1 or 4, num_iterations 1 or 2, all weights or LoRA. Results go to
`ledger.jsonl` in --out, a line a cut; the same command again does what is missing. Exit code 1: some run
differs. About 600 runs of a second or two each.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenrl.files import read_json_lines
from tests.training.matrix import CELLS, CUTS, Cell, Outcome, metrics, pairs, resumed, uninterrupted


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/resume_matrix"))
    parser.add_argument("--only", action="append", metavar="WORD", help="cells whose name holds the word")
    parser.add_argument("--cut", type=int, action="append", choices=CUTS, help="after this step only")
    parser.add_argument("--pairs-only", action="store_true", help="only the two cuts in a row")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    options.out.mkdir(parents=True, exist_ok=True)
    work: dict[Cell, list[tuple[int, ...]]] = {}
    if not options.pairs_only:
        work |= {cell: [(step,) for step in options.cut or CUTS] for cell in CELLS}
    for cell, cuts in () if options.cut else pairs():
        work.setdefault(cell, []).append(cuts)
    if options.only:
        work = {cell: cuts for cell, cuts in work.items() if any(word in cell.name for word in options.only)}

    ledger = options.out / "ledger.jsonl"
    known = {(line["cell"], tuple(line["cuts"])): line["equal"] for line in read_json_lines(ledger)}
    for cell, cuts in work.items():
        if missing := [c for c in cuts if (cell.name, c) not in known]:
            for line in measured(cell, missing, options.out / "runs"):
                known[line["cell"], tuple(line["cuts"])] = line["equal"]
                with ledger.open("a") as out:
                    out.write(json.dumps(line) + "\n")
    cases = [(cell.name, c) for cell, cuts in work.items() for c in cuts]
    unequal = [key for key in cases if not known[key]]
    print(f"{len(cases)} cuts of {len(work)} cells, {len(unequal)} differ from the uninterrupted run")
    for name, cuts in unequal:
        print(f"  {name} cut after {cuts}")
    return int(bool(unequal))


def measured(cell: Cell, cuts: list[tuple[int, ...]], folder: Path):
    """A ledger's line for each of the cell's cuts."""
    shutil.rmtree(folder, ignore_errors=True)
    whole = uninterrupted(cell, folder / "whole")
    for steps in cuts:
        continued = resumed(cell, folder / "whole", steps, folder / "cut")
        yield {
            "cell": cell.name,
            "cuts": list(steps),
            "equal": continued == whole,
            "whole": vars(whole),
            "found": vars(continued),
        }
        verdict = (
            "equal" if continued == whole else f"DIFFERENT: {differing(folder, len(steps), whole, continued)}"
        )
        print(f"{cell.name} cut after {steps}: {verdict}", flush=True)
        shutil.rmtree(folder / "cut")
    shutil.rmtree(folder)


def differing(folder: Path, legs: int, whole: Outcome, continued: Outcome) -> str:
    """What of two runs is not the same: weights, completions, or figures with their steps and values."""
    found = [name for name in ("weights", "completions") if getattr(whole, name) != getattr(continued, name)]
    both = zip(metrics(folder / "whole"), metrics(folder / "cut" / str(legs - 1)), strict=False)
    for one, other in both:
        names = [n for n in sorted({*one, *other}) if one.get(n, "none") != other.get(n, "none")]
        found += [f"step {one['step']} {n} {one.get(n, 'none')} {other.get(n, 'none')}" for n in names]
    return "; ".join(found)


if __name__ == "__main__":
    sys.exit(main())
