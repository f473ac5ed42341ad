"""Run by every process of a launch: one of the two is signalled, in each phase of a run, which then goes on.

Usage: signals_on_two.py OUT_DIR
"""

import json
import os
import sys
from pathlib import Path

import pytest
from accelerate import PartialState

from lenrl.run_process import run
from lenrl.training import checkpoint
from lenrl.training.signals import Stopped, StopSignal
from lenrl.training.watchdog import store_of
from tests.training.test_signals import interrupt, options, outcome, owners

SIGNALLED = {"update": 1, "save": 0, "evaluation": 1}  # the rank; only the first one writes the state
HALF = ["trainer.per_device_train_batch_size=8"]  # of a rollout, a process


def main(out: Path) -> None:
    rank = int(os.environ["RANK"])
    run(options(out / "straight", *HALF))
    found = {}
    for phase, signalled in SIGNALLED.items():
        owner, name, call, linger, step = owners()[phase]
        stop = StopSignal()
        stop.install()
        with pytest.MonkeyPatch.context() as patch:
            if rank == signalled:
                interrupt(patch, owner, name, call, linger=linger)
            try:
                run(options(out / phase, *HALF), stop)
                code = 0
            except Stopped as stopped:
                code = stopped.code
        PartialState().wait_for_everyone()  # no process looks before both have left
        newest = checkpoint.newest_good(out / phase)
        reached = None if newest is None else checkpoint.step_of(newest)
        left = [str(path) for path in out.rglob("*.tmp")]
        if rank == 0:
            store_of(2).delete_key("lenrl/stop")  # a launch has one run, which the signal has ended
        PartialState().wait_for_everyone()
        run(options(out / phase, *HALF))
        equal = outcome(out / phase) == outcome(out / "straight")
        found[phase] = {"code": code, "step": reached, "expected": step, "left": left, "equal": equal}
    (out / f"rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
