#!/usr/bin/env python3
"""Runs every launch for several processes on two real ones of the CPU, and prints a table.

    scripts/scale_matrix.py                          # whatever is missing, about 12 minutes on two cores
    scripts/scale_matrix.py --launch zero3 --only kill
    scripts/scale_matrix.py --table                  # only what is known

`gradient`: one step of drpo and of palu on the same completions, against one process, within 1e-5. `drpo`, `palu`,
`lora`, `dora`: 3 steps, cut inside and at the end of a rollout and continued bit for bit, weights exported and loaded.
`kill`, `term`: `lenrl train`, one of the two processes gets SIGKILL or SIGTERM while both sample; all end, and the same
command continues.

zero2 and zero3 need deepspeed (docs/gpus.md). Results go to `ledger.jsonl` in --out; the same command again does what
is missing or failed. Exit code 1: something failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenrl.files import read_json_lines
from tests.training import matrix, sharded
from tests.training.runs import launch

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = {"kill": (signal.SIGKILL, 1), "term": (signal.SIGTERM, 143)}  # with the exit code of `lenrl train`
KINDS = ("gradient", *sharded.RUNS, *SIGNALS)
END_S = 60.0  # from the signal to the end of all


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/scale_matrix"))
    parser.add_argument("--launch", action="append", choices=list(sharded.WRAPPED))
    parser.add_argument("--only", action="append", choices=list(KINDS))
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    out = options.out.absolute()
    ledger = out / "ledger.jsonl"
    known = {(line["launch"], line["kind"]): line for line in read_json_lines(ledger)}
    for name in () if options.table else options.launch or sharded.WRAPPED:
        if name.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
            print(f"{name}: deepspeed is not installed, see docs/gpus.md", file=sys.stderr)
            continue
        kinds = [k for k in options.only or KINDS if not known.get((name, k), {}).get("ok")]
        for kind in kinds:
            print(f"{name} {kind} ...", file=sys.stderr, flush=True)
            line = {
                "launch": name,
                "kind": kind,
                **(signalled if kind in SIGNALS else launched)(name, kind, out),
            }
            line["ok"] = not line["faults"]
            known[name, kind] = line
            with ledger.open("a") as file:
                file.write(json.dumps(line) + "\n")
    print("| launch | kind | seconds | result |\n| --- | --- | --- | --- |")
    for line in known.values():
        result = "; ".join(line["faults"]) or line["found"]
        print(f"| {line['launch']} | {line['kind']} | {line['seconds']:.0f} | {result} |")
    return int(not all(line["ok"] for line in known.values()))


def launched(name: str, kind: str, out: Path) -> dict:
    """One launch of the worker."""
    one, folder = out / "one", out / name
    if not (one / "gradient.json").exists():
        assert launch("sharded.py", one, "gradient", name="cpu").returncode == 0
    for left in folder.glob(f"{kind}*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    began = time.monotonic()
    done = launch("sharded.py", folder, kind, name=name)
    seconds = time.monotonic() - began
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "Error" in line]
        return {"seconds": seconds, "faults": [f"exit code {done.returncode}: {errors[:1]}"]}
    if kind == "gradient":
        files = [f"gradient-{recipe}.safetensors" for recipe in sharded.GRADIENTS]
        apart = max(sharded.difference(one / file, folder / file) for file in files)
        found = f"within {apart:.0e} of one process"
    else:
        found = f"{sharded.STEPS} steps; resumed bit for bit; exported weights complete"
    return {"seconds": seconds, "faults": sharded.faults(name, kind, folder, one), "found": found}


def signalled(name: str, kind: str, out: Path) -> dict:
    """`lenrl train`: rank 1 gets a signal in the third generation, and the same command goes on to the end.

    No checkpoint is due before a SIGTERM, so that the one of the last step has to be written after it.
    """
    number, expected = SIGNALS[kind]
    folder = out / name / kind
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    every = 1 if kind == "kill" else 10
    command = [sys.executable, "-m", "lenrl.cli", "train", "drpo", f"launch={name}", "launch.num_processes=2"]
    command += [
        "launch.mixed_precision=no",
        "--plugin",
        str(ROOT / "tests/training/on_cpu.py"),
        *sharded.TRAINING,
    ]
    command += ["trainer.steps_per_generation=1", f"trainer.save_steps={every}"]
    plain = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}

    def train(run: str, env: dict[str, str]) -> tuple[int, str]:
        line = [*command, f"output_dir={folder / run}"]
        done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stderr

    train("whole", plain)
    began, note = time.time(), folder / "signalled"
    code, message = train("cut", plain | {"STOP_AT": f"1:3:{int(number)}", "STOP_NOTE": str(note)})
    if not note.exists():
        return {"seconds": 0.0, "faults": [f"ended before the signal: {message[-200:]}"]}
    took = time.time() - float(note.read_text())
    wrong = [f"exit code {code}: {message[-200:]}"] if code != expected else []
    if kind == "kill" and "rank 1 of 2 failed first" not in message:
        wrong.append(f"it does not say who died: {message[-200:]}")
    if took > END_S:
        wrong.append(f"it took {took:.0f} s to end")
    left = sorted(path.name for path in (folder / "cut").glob("checkpoint-*"))
    code, message = train("cut", plain)
    if code or left[-1:] != ["checkpoint-2"]:
        wrong.append(f"{left} were left; the same command ended with {code}: {message[-200:]}")
    elif matrix.outcome(folder / "cut") != matrix.outcome(folder / "whole"):
        wrong.append("the continued run ends otherwise than the one that was not cut")
    found = f"all ended {took:.0f} s after the signal; continued from checkpoint-2, bit for bit"
    return {"seconds": time.time() - began, "faults": wrong, "found": found}


if __name__ == "__main__":
    sys.exit(main())
