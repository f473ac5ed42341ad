"""A real sweep on the embedded model: one trial crashes, the sweep is killed midway, a rerun does the rest."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.fakes import descendants, gone, wait_for
from tests.sweeps.fakes import events
from tests.training.runs import SMALL

ROOT = Path(__file__).parents[2]
FRAGILE = '''
import os
from lenrl.strategies.base import Reward

class Fragile(Reward):
    """Pays for short correct completions, and fails while the tests say so."""
    name = "fragile"
    level: int = 0

    def __call__(self, rollouts):
        if str(self.level) == os.environ.get("FRAGILE"):
            raise RuntimeError("fragile")
        return rollouts.correct_PG * (1 - 0.1 * self.level * rollouts.length_PG / rollouts.max_length)
'''
SETTINGS = [
    "grpo",
    "reward=fragile",
    *(
        line
        for line in SMALL
        if not line.startswith(("trainer.save_steps", "task.dev", "trainer.eval_steps"))
    ),
    "trainer.save_steps=1",
    "trainer.eval_steps=1",
    "trainer.learning_rate=1e-3",
    "task.dev=4",
    "task.test=4",
    "--plugin",
    "fragile.py",
]


def lenrl(folder: Path, *words: str, fragile: str = "") -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FRAGILE": fragile}
    with open(folder / "said", "ab") as said:
        line = [sys.executable, "-m", "lenrl.cli", *words]
        return subprocess.Popen(line, cwd=folder, env=env, stdout=said, stderr=said, start_new_session=True)


def files(run: Path) -> dict[str, tuple[int, str]]:
    """Time and content of every file of a run."""
    found = [p for p in run.rglob("*") if p.is_file() and p.name != "lock"]
    return {str(p): (p.stat().st_mtime_ns, hashlib.blake2b(p.read_bytes()).hexdigest()) for p in found}


def metrics(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(("time_", "tokens_per_s"))} for line in lines]


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_sweep_is_completed_by_a_rerun_and_equals_runs_made_alone(tmp_path):
    (tmp_path / "fragile.py").write_text(FRAGILE)
    words = ["sweep", *SETTINGS, "reward.level=range(6)", "--jobs", "2", "name=six"]
    folder = tmp_path / "outputs" / "sweeps" / "grpo" / "six"
    parent = lenrl(tmp_path, *words, fragile="1")

    def midway() -> bool:
        """One has finished, one has crashed, and one that begins later has taken its first step."""
        now = {n: events(folder, n) for n in range(6)} if (folder / "ledger.jsonl").exists() else {}
        ended = {status for seen in now.values() for status in seen}
        return {"finished", "crashed"} <= ended and any(
            seen == ["running"] and list((folder / f"trial-{n:03d}").glob("checkpoint-1*"))
            for n, seen in now.items()
        )

    wait_for(midway, 300)
    below = descendants(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: all(gone(pid) for pid in below), 60)
    before = {n: events(folder, n) for n in range(6)}
    assert before[1] == ["running", "crashed"]
    finished = [n for n in range(6) if before[n] == ["running", "finished"]]
    interrupted = [n for n in range(6) if before[n] == ["running", "interrupted"]]
    assert finished and interrupted and any(not before[n] for n in range(6))
    kept = {n: files(folder / f"trial-{n:03d}") for n in finished}

    assert lenrl(tmp_path, *words).wait(400) == 0, (tmp_path / "said").read_text()[-3000:]
    for n in range(6):
        again = [] if n in finished else ["running", "finished"]
        assert events(folder, n) == before[n] + again
    assert kept == {n: files(folder / f"trial-{n:03d}") for n in finished}
    rows = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    last = {row["trial"]: row for row in rows}
    assert all(last[n]["measured_on"] == "dev" and last[n]["tokens"] > 0 for n in range(6))

    n = interrupted[0]
    alone = lenrl(tmp_path, "train", *SETTINGS, f"reward.level={n}", "output_dir=alone")
    assert alone.wait(200) == 0, (tmp_path / "said").read_text()[-3000:]
    swept = folder / f"trial-{n:03d}"
    assert metrics(swept) == metrics(tmp_path / "alone")
    assert metrics(swept) != metrics(folder / f"trial-{finished[0]:03d}"), "the trials do not differ"
    assert len(metrics(swept)) == 2 and any(line["grad_norm"] for line in metrics(swept))
    weights = Path("model", "model.safetensors")
    assert (swept / weights).read_bytes() == (tmp_path / "alone" / weights).read_bytes()
