"""A worker of the test on two processes: trains to the end, cuts, goes on, and says whether both ends are equal."""

import json
import sys
from pathlib import Path

from accelerate import PartialState

from tests.training import matrix
from tests.training.matrix import Cell

CELLS = [
    (Cell("dot", 4, 1, lora=True), 7),
    (Cell("laser_d", 1, 1), 8),
    (Cell("palu", 4, 2), 3),
]


def main(out: Path) -> None:
    found = {}
    for cell, step in CELLS:
        whole, after = out / cell.name, out / f"{cell.name}-cut"
        matrix.leg(cell, whole)
        if PartialState().is_main_process:
            matrix.cut(whole, step, after)
        PartialState().wait_for_everyone()
        matrix.leg(cell, after)
        gradients = [line["step"] for line in matrix.metrics(whole) if line["grad_norm"]]
        found[cell.name] = matrix.outcome(after) == matrix.outcome(whole) and max(gradients) > step
    if PartialState().is_main_process:
        (out / "found.json").write_text(
            json.dumps({"processes": PartialState().num_processes, "equal": found})
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
