"""Examples where their users have them: copied to a folder outside the repository, run by the command."""

import json
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def lenrl(processes, verb, name, folder, *overrides):
    """The output of `lenrl VERB NAME.yaml --plugin NAME.py ...` in a copy of the example; a run goes to `out` there."""
    shutil.copytree(EXAMPLES / name, folder, dirs_exist_ok=True)
    program = ["lenrl.cli", verb] if verb != "train" else ["lenrl.run_process"]
    recipe = [f"{name}.yaml"] if verb != "train" else ["--config-name", f"{name}.yaml"]
    small = ["output_dir=out", "trainer.eval_steps=0", *overrides]
    done = processes.run(folder, "-m", *program, *recipe, "--plugin", f"{name}.py", *small)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def metrics(folder):
    """The lines of a run."""
    return [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]
