#!/usr/bin/env python3
"""Trains the embedded model for long, calmly and with faults, and compares what the two runs end with.

    python scripts/soak.py                            # 2,000 steps, 15 minutes on one core
    python scripts/soak.py --steps 200 --every 40     # shorter
    python scripts/soak.py --out FOLDER               # default: outputs/soak

Every so many steps the second run suffers the next of: the verifier's workers killed, a slow verifier, SIGTERM, a full
disk, SIGKILL of the training process, SIGKILL of `lenrl train`; its tracker's server never answers at all. What has
ended is continued by the same command. Exit code 1: weights, completions or figures differ; memory, open files or
threads of a training process grew; an exit code was another one than documented; or something was left behind.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice, zip_longest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from soak_leg import Leg
from soak_verifier import SLOW

from tests.training.matrix import metrics, outcome

SLOW_S = 5.0  # that the verifier stays slow
ORDER = ("workers", "slow", "sigterm", "workers", "full_disk", "workers", "sigkill", "slow", "sigkill_parent")
TRACKER = "tracker"  # a fault for the whole run
CODES = {"sigterm": 143, "full_disk": 1, "sigkill": 1, "sigkill_parent": -9}  # of a leg that ends by this
MORE = {
    "rank_mib": 48.0,
    "children_mib": 96.0,
    "files": 12.0,
    "threads": 8.0,
}  # with faults, of which wandb's are most
RECIPE = [
    "palu",
    f"--plugin={Path(__file__).with_name('soak_verifier.py')}",
    "verifier.kind=soaked",
    "task.train=512",
    "task.operands=[2,3]",
    "task.dev=0",
    "task.test=0",
    "trainer.generation_batch_size=8",
    "trainer.num_generations=4",
    "trainer.max_completion_length=32",
    "trainer.learning_rate=1e-5",
    "trainer.save_steps=25",
    "trainer.eval_steps=0",
    "update.per_rollout=4",
    "guard.truncated_share=1",
    "guard.truncated_rollouts=1000000",
]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000, help="optimizer steps of each run")
    parser.add_argument("--every", type=int, default=75, help="steps from one fault to the next")
    parser.add_argument("--faults", nargs="+", choices=sorted({*ORDER, TRACKER}), help="only these")
    parser.add_argument("--out", type=Path, default=Path("outputs/soak"), help="folder; emptied first")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    command = [*RECIPE, f"trainer.max_steps={options.steps}"]
    order = [fault for fault in options.faults or ORDER if fault != TRACKER]
    faults = list(islice(cycle(order), max(1, (options.steps - 1) // options.every)))
    out = options.out.absolute()
    calm = run(out / "calm", command, {}, [], options.every)
    if options.faults and TRACKER not in options.faults:
        faulty = run(out / "faulty", command, {}, faults, options.every)
    else:
        with silent_server(out) as environment:
            faulty = run(
                out / "faulty", [*command, "logging.report_to=wandb"], environment, faults, options.every
            )
    problems = [*calm.pop("problems"), *faulty.pop("problems")]
    for name, more in MORE.items():
        calmly, suffering = (max(leg[name] for leg in found["most"]) for found in (calm, faulty))
        if suffering > calmly + more:
            problems.append(f"{name}: {suffering:g} with faults, {calmly:g} calmly")
    unequal = [what for what, one in calm["outcome"].items() if one != faulty["outcome"].get(what)]
    problems += [f"{what} differ" for what in unequal]
    if "metrics" in unequal:
        problems += differing(metrics(out / "calm"), metrics(out / "faulty"))
    result = {"steps": options.steps, "calm": calm, "faulty": faulty, "problems": problems}
    (options.out / "soak.json").write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(problems) or "equal: weights, completions, figures; nothing grew, nothing is left behind")
    return int(bool(problems))


def run(folder: Path, command: list[str], environment: dict[str, str], faults: list[str], every: int) -> dict:
    """Train to the end in as many legs as the faults make; figures of the run, and `problems`."""
    began, problems, legs, slow = time.monotonic(), [], [], folder.with_suffix(".slow")
    waiting, done = [(every * (i + 1), fault) for i, fault in enumerate(faults)], Counter()
    while True:
        leg = Leg(folder, command, {**environment, SLOW: str(slow)})
        legs.append(leg)
        ended_by = None
        while ended_by is None and leg.runs():
            if waiting and leg.step() >= waiting[0][0]:
                step, fault = waiting.pop(0)
                done[fault] += 1
                print(f"{time.monotonic() - began:6.0f} s, step {leg.step()}: {fault}", flush=True)
                inflict(leg, fault, slow)
                ended_by = fault if fault in CODES else None
        code = leg.ends()
        problems += [f"leg {len(legs)}, {ended_by or 'end'}: {text}" for text in leg.problems()]
        if code != CODES.get(ended_by or "", 0):
            problems.append(f"leg {len(legs)}, {ended_by or 'end'}: exit code {code}, see {leg.log}")
        if ended_by is None:
            break
    problems += [f"{path} is left behind" for path in folder.rglob("*") if path.suffix == ".part"]
    figures = {"seconds": round(time.monotonic() - began), "legs": len(legs), "faults": dict(done)}
    figures |= {"grew": [leg.growth() for leg in legs], "most": [leg.most() for leg in legs]}
    print(f"{folder.name}: {figures}", flush=True)
    found = vars(outcome(folder)) if (folder / "model").is_dir() else {}
    return {**figures, "outcome": found, "problems": problems}


def differing(calm: list[dict], faulty: list[dict]) -> list[str]:
    """Lines on the first step whose figures are not the same."""
    for one, other in zip_longest(calm, faulty, fillvalue={}):
        names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
        if names:
            step = (one or other)["step"]
            return [
                f"step {step}: {name} {one.get(name)} calm, {other.get(name)} with faults" for name in names
            ]
    return []


def inflict(leg: Leg, fault: str, slow: Path) -> None:
    """The fault; one that ends the leg has begun to when this returns."""
    if fault == "workers":
        leg.kill_workers()
    elif fault == "slow":
        slow.touch()
        leg.watch(SLOW_S)
        slow.unlink()
    elif fault == "full_disk":
        leg.fill_disk()
    else:
        leg.signal(fault)


@contextmanager
def silent_server(folder: Path) -> Iterator[dict[str, str]]:
    """Variables that send wandb to a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1000)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        yield {
            "WANDB_BASE_URL": address,
            "WANDB_API_KEY": "0" * 40,
            "WANDB_SILENT": "true",
            "WANDB_DIR": str(folder),
        }


if __name__ == "__main__":
    sys.exit(main())
