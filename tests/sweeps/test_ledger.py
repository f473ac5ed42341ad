"""The ledger: appended by many, cut by a power failure, never rewritten."""

import json
import subprocess
import sys

from lenrl.sweeps import ledger
from lenrl.sweeps.measured import figures

MANY = """
import sys; from pathlib import Path; from lenrl.sweeps import ledger
for i in range(25): ledger.append(Path(sys.argv[1]), int(sys.argv[2]), "running", ["x=" + "y" * 3000], seconds=1.0)
"""


def test_the_last_event_of_a_trial_counts_and_its_seconds_add_up(tmp_path):
    ledger.append(tmp_path, 1, ledger.CRASHED, ["seed=1"], seconds=2.0, exit_code=1)
    ledger.append(tmp_path, 0, ledger.RUNNING, ["seed=0"])
    ledger.append(tmp_path, 1, ledger.FINISHED, ["seed=1"], seconds=3.0, accuracy=0.5, tokens=40.0)
    found = ledger.read(tmp_path)
    assert list(found) == [0, 1]
    assert found[1].done and found[1].seconds == 5.0 and found[1].accuracy == 0.5
    assert not found[0].done
    line = json.loads((tmp_path / "ledger.jsonl").read_text().splitlines()[-1])
    assert {"trial", "overrides", "status", "run", "accuracy", "tokens", "seconds"} <= set(line)


def test_a_cut_line_costs_itself_only(tmp_path):
    ledger.append(tmp_path, 0, ledger.FINISHED, ["seed=0"])
    with open(tmp_path / "ledger.jsonl", "a") as file:
        file.write('{"trial": 1, "status": "fini')
    ledger.append(tmp_path, 2, ledger.FINISHED, ["seed=2"])
    assert list(ledger.read(tmp_path)) == [0, 2]


def test_processes_that_append_at_once_lose_and_mix_nothing(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path), str(n)]) for n in range(4)]
    assert [w.wait() for w in writers] == [0] * 4
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert len(lines) == 100
    assert [ledger.read(tmp_path)[n].seconds for n in range(4)] == [25.0] * 4


def test_figures_are_of_development_problems_unless_the_final_model_has_none(tmp_path):
    assert figures(tmp_path) == {"accuracy": None, "tokens": None, "measured_on": None}
    dev = [
        {"step": 0, "eval_accuracy": 0.8, "eval_tokens": 90.0},
        {"step": 4, "eval_accuracy": 0.9, "eval_tokens": 40.0},
    ]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(x) + "\n" for x in dev))
    (tmp_path / "summary.json").write_text(json.dumps({"after": {"accuracy": 0.7, "tokens": 30.0}}))
    (tmp_path / "training.json").write_text(json.dumps({"steps": 4}))
    assert figures(tmp_path) == {"accuracy": 0.9, "tokens": 40.0, "measured_on": "dev"}
    (tmp_path / "training.json").write_text(json.dumps({"steps": 6}))
    assert figures(tmp_path) == {"accuracy": 0.7, "tokens": 30.0, "measured_on": "test"}
