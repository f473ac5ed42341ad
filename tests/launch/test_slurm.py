"""The Slurm script for several nodes, with stand-ins for Slurm's own commands."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lenrl.training import checkpoint
from tests.launch.fakes import wait_for
from tests.training import matrix
from tests.training.runs import SMALL

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "slurm" / "train.sbatch"
SRUN = f"""#!{sys.executable}
import os, signal, subprocess, sys
args = sys.argv[1:]
start = next(i for i, a in enumerate(args) if not a.startswith("--"))
given = dict(a.lstrip("-").split("=", 1) for a in args[:start])
with open(os.environ["NOTES"], "a") as f:
    f.write(" ".join(["srun", *args]) + "\\n")
tasks = [
    subprocess.Popen(args[start:], env=os.environ | {{"SLURM_PROCID": str(i)}}, start_new_session=True)
    for i in range(int(given["ntasks"]))
]
signal.signal(signal.SIGTERM, lambda n, _: [t.send_signal(n) for t in tasks])
open(os.environ["NOTES"] + "-listens", "w").close()
sys.exit(max(t.wait() for t in tasks))
"""
NOTE = '#!/bin/sh\necho "{0} $*" >> "$NOTES"\n'


def job(tmp_path, *words, nodes=("localhost", "localhost"), real=False, code=0, **more):
    """The script as a job of some nodes with one GPU each."""
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    shown = "\n".join(nodes)
    commands = {
        "srun": SRUN,
        "scontrol": NOTE.format("scontrol") + f'[ "$1" != show ] || echo "{shown}"\n',
        "trl": NOTE.format("trl") + "exec sleep 60\n",
        "lenrl": f'#!/bin/sh\nexec {sys.executable} -m lenrl.cli "$@"\n'
        if real
        else NOTE.format("lenrl") + more.pop("then", "") + f"exit {code}\n",
    }
    for name, text in commands.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    env = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    env |= {
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_JOB_ID": str(20000 + os.getpid()),
    }
    env |= {"SLURM_GPUS_ON_NODE": "1", "NOTES": str(tmp_path / "notes"), **more}
    return subprocess.Popen(["bash", str(SCRIPT), *words], env=env)


def notes(tmp_path, command):
    lines = (tmp_path / "notes").read_text().splitlines() if (tmp_path / "notes").exists() else []
    return [line for line in lines if line.split()[0] == command]


@pytest.mark.parametrize(
    "script", sorted((ROOT / "scripts" / "slurm").glob("*.sbatch")), ids=lambda p: p.name
)
def test_the_script_is_bash(script):
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    if shutil.which("shellcheck"):
        assert subprocess.run(["shellcheck", str(script)], check=False).returncode == 0


def test_each_node_gets_its_rank_and_the_address_of_the_first(tmp_path):
    assert job(tmp_path, "drpo", "seed=1", nodes=("a1", "a2")).wait(30) == 0
    lines = sorted(notes(tmp_path, "lenrl"))
    assert len(lines) == 2
    for rank, line in enumerate(lines):
        words = line.split()
        assert words[:4] == ["lenrl", "train", "drpo", "seed=1"]
        expected = {"launch=multi_node", "launch.num_machines=2", "launch.num_processes=2"}
        assert expected | {"launch.main_process_ip=a1", f"launch.machine_rank={rank}"} <= set(words)
    assert not [line for line in notes(tmp_path, "scontrol") if "requeue" in line]


def test_the_last_node_serves_and_the_others_train(tmp_path):
    served = (
        'until grep -q ^trl "$NOTES"; do sleep 0.1; done\n'  # the server outlives no training that is over
    )
    run = job(tmp_path, "drpo", "launch=zero3", nodes=("a1", "a2", "a3"), SERVE="org/model", then=served)
    assert run.wait(60) == 0
    [serve] = notes(tmp_path, "trl")
    assert serve.startswith("trl vllm-serve --model org/model --data_parallel_size 1")
    assert sorted(line.split("--nodelist=")[1].split()[0] for line in notes(tmp_path, "srun")) == [
        "a1,a2",
        "a3",
    ]
    for line in notes(tmp_path, "lenrl"):
        assert "trainer.vllm_server_host=a3" in line and "launch.num_processes=2" in line
        assert "launch=multi_node" not in line
    assert job(tmp_path, "drpo", nodes=("a1",), SERVE="org/model").wait(30) == 2


def test_a_failed_run_is_not_queued_again(tmp_path):
    assert job(tmp_path, "drpo", code=3).wait(30) == 3
    assert not [line for line in notes(tmp_path, "scontrol") if "requeue" in line]


def test_a_preempted_job_stops_its_training_and_is_queued_again(tmp_path):
    # it "saves" for a while and leaves as a stopped run does
    then = 'trap "sleep 0.5; touch saved$SLURM_PROCID; exit 143" TERM\n'
    then += "touch up$SLURM_PROCID\nwhile :; do sleep 0.1; done\n"
    run = job(tmp_path, "drpo", then=then)
    wait_for(lambda: all((tmp_path / name).exists() for name in ("up0", "up1", "notes-listens")))
    run.send_signal(signal.SIGTERM)
    assert run.wait(30) == 143
    assert (tmp_path / "saved0").exists() and (tmp_path / "saved1").exists()
    assert len([line for line in notes(tmp_path, "scontrol") if "requeue" in line]) == 1


@pytest.mark.slow
def test_two_nodes_train_are_preempted_and_go_on_exactly(tmp_path):
    """Both are this machine, with a folder for both, as on a shared file system."""
    words = [
        *SMALL,
        "launch.mixed_precision=no",
        "trainer.per_device_train_batch_size=6",
        "trainer.max_steps=12",
    ]
    words += ["trainer.save_steps=4", "task.test=0"]

    def train(folder):
        return job(tmp_path, "grpo", *words, f"output_dir={tmp_path / folder}", real=True)

    assert train("whole").wait(240) == 0
    cut = train("cut")
    try:
        wait_for((tmp_path / "cut" / "metrics.jsonl").exists, 120)
    finally:
        cut.send_signal(signal.SIGTERM)
    assert cut.wait(60) == 143
    start = checkpoint.newest_good(tmp_path / "cut")
    assert start is not None and 0 < checkpoint.step_of(start) < 12
    assert train("cut").wait(240) == 0
    assert matrix.outcome(tmp_path / "cut") == matrix.outcome(tmp_path / "whole")
    assert not list(tmp_path.glob("*/machine*")) and (tmp_path / "cut" / "summary.json").exists()
