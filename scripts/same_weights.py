"""Digests of short runs, to show that a change of the code changes no weight and no figure.

    python scripts/same_weights.py > before.json              # then change the code
    python scripts/same_weights.py --against before.json      # exit code 1 where anything differs

Each run is a `lenrl train` of its own, with one thread, in a temporary folder. Compared are the SHA-256 of the final
weights and of `metrics.jsonl` without times. Digests agree on one machine with one version of torch only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = {
    "grpo": ["grpo"],
    "drpo": ["drpo"],
    "palu": ["palu"],
    "dot": ["dot"],
    "curriculum": ["curriculum"],
    "grpo_lambda": ["grpo_lambda"],
    "laser_d": ["laser_d"],
    "drpo_two_processes": ["drpo", "launch=cpu2"],
}
TIMES = ("time_", "tokens_per_s")  # beginnings of the figures that are times


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, metavar="FILE.json", help="digests to compare with")
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps a run")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    options = parser.parse_args()
    expected = json.loads(options.against.read_text()) if options.against else {}
    digests = {}
    differing = []
    for name in options.runs:
        digests[name] = train(RUNS[name], options.steps)
        if expected and expected.get(name) != digests[name]:
            differing.append(name)
            print(f"{name}: expected {expected.get(name)}, found {digests[name]}", file=sys.stderr)
    print(json.dumps(digests, indent=2))
    return 1 if differing else 0


def train(arguments: list[str], steps: int) -> dict[str, str]:
    """Digests of a run's weights and metrics."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        command = [sys.executable, "-m", "lenrl.cli", "train", *arguments, f"trainer.max_steps={steps}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, f"output_dir={run_dir}"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return {"weights": _weights(run_dir / "model"), "metrics": _metrics(run_dir / "metrics.jsonl")}


def _weights(model: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _metrics(file: Path) -> str:
    digest = hashlib.sha256()
    for line in file.read_text("utf-8").splitlines():
        figures = {key: value for key, value in json.loads(line).items() if not key.startswith(TIMES)}
        digest.update(json.dumps(figures, sort_keys=True).encode())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
