"""A whole run in a folder of trapped modules, whose tracker's server takes every connection and never answers."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lenrl.monitors.trackers import PATIENCE_S
from tests.training.runs import SMALL, lines_of

OPTIONS = ["trainer.max_steps=4", "task.test=4", "logging.report_to=wandb"]
REST_S = 60.0  # final model, evaluation, report on a busy machine; waited for once more the run would take 90


@pytest.mark.long
@pytest.mark.slow
def test_a_run_waits_for_its_tracker_once_and_has_everything_locally(trapped, tmp_path):
    run = tmp_path / "run"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(200)
        wandb = {"WANDB_BASE_URL": f"http://127.0.0.1:{server.getsockname()[1]}", "WANDB_API_KEY": "a" * 40}
        line = [
            str(Path(sys.executable).with_name("lenrl")),
            "train",
            "grpo",
            *SMALL,
            *OPTIONS,
            f"output_dir={run}",
        ]
        done = subprocess.run(
            line, env=os.environ | wandb, capture_output=True, text=True, timeout=400, check=False
        )
        ended = time.time()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("WandbCallback does not answer") == 1
    assert "did not take the report" not in done.stderr, "it is not asked again"
    steps = lines_of(run)
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    took_s = ended - steps[-1]["time_unix_s"]
    print(f"{took_s:.0f} s from the last step to the end")
    assert took_s < PATIENCE_S + REST_S
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert (run / "wandb").is_dir(), "its files are in the run's folder"
    assert not (trapped / "sprung").exists(), "nothing was imported from the working directory"
