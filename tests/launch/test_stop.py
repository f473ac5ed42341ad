"""Real runs that are stopped, killed or hang: exit codes, checkpoints, messages, and nobody left behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lenrl.training import checkpoint
from tests.launch.fakes import descendants, gone, wait_for
from tests.training.runs import SMALL

ROOT = Path(__file__).parents[2]
SECRETS = {"WANDB_API_KEY": "a1b2c3d4e5f6a7b8", "HF_TOKEN": "hf_notarealtokenatall"}
MODULE = "lenrl.launch.supervisor"
SAVE_S = 60.0  # from the signal to the end of the run; what hangs would take 600
DEATH_S = 60.0  # from the death of one process to the end of all
RUN = [*SMALL, "trainer.max_steps=50", "trainer.save_steps=2", "task.dev=4", "task.test=4"]

# Read by every process. The one named here notes its process id and then hangs in a function, at its N-th call.
PLUGIN = """
import importlib, os, pathlib, sys, time
from typing import ClassVar
from lenrl.strategies.rewards.correctness import Correctness

def pause():
    while not (pathlib.Path(os.environ["HANG_NOTES"]) / "go").exists():
        time.sleep(0.05)

def spin():
    while True:
        pass

HOW = {
    "sleep": lambda: time.sleep(600),
    "pause": pause,
    "spin": spin,
    "no_python": lambda: sum(range(10**13)),  # holds the interpreter's lock, and hears no signal
    "exit": lambda: sys.exit(0),
    "leave": lambda: os._exit(0),
}

class Unused(Correctness):
    "A plugin must have a strategy."
    name: ClassVar[str] = "unused_by_the_tests"

if "LENRL_STATUS" in os.environ or "HANG_BY_HAND" in os.environ:  # a training process, not `lenrl train`
    rank = os.environ.get("RANK", "0")
    folder = pathlib.Path(os.environ["HANG_NOTES"])
    (folder / f"pid{rank}").write_text(str(os.getpid()))
    module, owner, name = os.environ["HANG_IN"].split(":")
    owner = getattr(importlib.import_module(module), owner)
    original, calls = getattr(owner, name), []
    def hang_here(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3 and rank in os.environ["HANG_RANKS"]:
            (folder / f"hangs{rank}").touch()
            HOW[os.environ["HANG_HOW"]]()
        return original(*args, **kwargs)
    setattr(owner, name, hang_here)
"""
GENERATION = "lenrl.training.rollout:RolloutScoring:sample"
SCORING = "lenrl.verify.claims:PendingVerdicts:verdicts"


class Run:
    """A training in the background; each of `ranks` hangs in its third call of a function."""

    def __init__(
        self, folder, where=GENERATION, *, how="sleep", ranks="0", processes=1, more=(), by_hand=False
    ):
        self.folder, self.notes = folder / "run", folder
        self.ranks = ranks
        plugin = folder / "plugin.py"
        plugin.write_text(PLUGIN)
        options = [f"--plugin={plugin}", *RUN, f"output_dir={self.folder}", *more]
        launch = "cpu" if processes == 1 else "cpu2"
        if by_hand:
            line = [
                "-m",
                "accelerate.commands.launch",
                "--config_file",
                str(ROOT / f"recipes/launch/{launch}.yaml"),
            ]
            line += [str(ROOT / "scripts" / "train.py"), "--config-name", "grpo", *options]
        else:
            line = ["-m", "lenrl.cli", "train", "grpo", f"launch={launch}", *options]
        env = {**os.environ, **SECRETS, "HANG_IN": where, "HANG_RANKS": ranks, "HANG_NOTES": str(folder)}
        env["HANG_HOW"] = how
        env |= {"HANG_BY_HAND": "1"} if by_hand else {}
        self.log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, *line],
            env=env | {"OMP_NUM_THREADS": "1"},
            stderr=self.log,
            start_new_session=True,
        )
        wait_for(self.hangs, 120)
        self.below = descendants(self.process.pid)

    def hangs(self):
        assert self.process.poll() is None, (self.notes / "log").read_text()
        return all((self.notes / f"hangs{rank}").exists() for rank in self.ranks)

    def pid(self, rank):
        return int((self.notes / f"pid{rank}").read_text())

    def ends(self, within):
        """(exit code, what it said), with nobody left behind and no secret in any file."""
        began = time.monotonic()
        try:
            code = self.process.wait(within)
            wait_for(
                lambda: all(gone(pid) for pid in self.below), max(1.0, within - (time.monotonic() - began))
            )
        finally:
            for pid in [self.process.pid, *self.below]:
                if not gone(pid):
                    psutil.Process(pid).kill()
            self.log.close()
        files = [path for path in self.notes.rglob("*") if path.is_file()]
        for secret in SECRETS.values():
            assert not [path for path in files if secret.encode() in path.read_bytes()]
        return code, (self.notes / "log").read_text()

    def saved(self):
        newest = checkpoint.newest_good(self.folder)
        assert sorted(self.folder.glob("checkpoint-*"))[-1] == newest, "nothing half written"
        return checkpoint.step_of(newest)


def test_sigterm_during_generation(tmp_path):
    run = Run(tmp_path)
    run.process.send_signal(signal.SIGTERM)
    code, said = run.ends(SAVE_S)
    assert code == 143 and run.saved() == 2, said
    assert "checkpoint-2" in said and "Traceback" not in said
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes(tmp_path):
    """The other one works alone and gets no signal."""
    run = Run(tmp_path, SCORING, ranks="01", processes=2)
    os.kill(run.pid(1), signal.SIGTERM)
    code, said = run.ends(SAVE_S)
    assert code == 143 and run.saved() == 2, said
    assert "Traceback" not in said and "ChildFailedError" not in said
    log = (run.folder / "train.log").read_text()
    assert "rank 0: INFO lenrl: step 1 of 50" in log and "Traceback" not in log


@pytest.mark.slow
def test_sigint_while_one_process_waits_for_the_other(tmp_path):
    run = Run(tmp_path, GENERATION, ranks="1", processes=2, more=["trainer.save_steps=10"])
    run.process.send_signal(signal.SIGINT)
    code, said = run.ends(SAVE_S)
    assert code == 130 and run.saved() == 2, said


@pytest.mark.slow
def test_a_killed_process_takes_the_other_one_down(tmp_path):
    run = Run(tmp_path, ranks="01", processes=2)
    os.kill(run.pid(1), signal.SIGKILL)
    code, said = run.ends(DEATH_S)
    assert code == 1, said
    assert "rank 1 of 2 failed first: it died without a word" in said
    assert run.saved() == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["spin", pytest.param("no_python", marks=pytest.mark.long)])
def test_a_process_that_hangs_ends_the_run_with_its_stack(tmp_path, how):
    run = Run(tmp_path, SCORING, how=how, ranks="1", processes=2, more=["guard.hang_timeout_s=6"])
    code, said = run.ends(DEATH_S)
    assert code == 1, said
    assert "waiting for the other processes" in said
    last = [line for line in said.splitlines() if line.startswith("lenrl: rank")][-1]
    place = "verification, in spin (" if how == "spin" else ", in code that lets no other Python run"
    stack = run.folder / "stacks" / "rank1.txt"
    assert last.startswith("lenrl: rank 1 of 2 stopped answering: ") and place in last, said
    assert last.endswith(str(stack)) and "hang_here" in stack.read_text()
    assert "hang_here" not in (run.folder / "stacks" / "rank0.txt").read_text()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "words"),
    [("exit", "it left with exit code 0 in <lambda> ("), ("leave", "or left by os._exit")],
)
def test_a_process_that_leaves_with_exit_code_0_is_the_one_that_is_named(tmp_path, how, words):
    run = Run(tmp_path, SCORING, how=how, ranks="1", processes=2)
    code, said = run.ends(DEATH_S)
    assert code == 1, said
    [last] = [line for line in said.splitlines() if line.startswith("lenrl: rank")]
    assert last.startswith("lenrl: rank 1 of 2 failed first: ") and words in last, said


@pytest.mark.long
@pytest.mark.slow
def test_a_folder_that_is_deleted_under_two_processes_ends_both_and_their_state_is_saved(tmp_path):
    run = Run(tmp_path, SCORING, how="pause", ranks="1", processes=2)
    shutil.rmtree(run.folder)
    (tmp_path / "go").touch()
    code, said = run.ends(2 * SAVE_S)
    assert code == 1, said
    assert said.count(f"{run.folder} was deleted or moved") == 1 and "Traceback" not in said
    assert run.saved() == 4


@pytest.mark.slow
@pytest.mark.long
def test_both_processes_of_a_killed_supervisor_save_and_end(tmp_path):
    run = Run(tmp_path, SCORING, ranks="01", processes=2)
    [supervisor] = [p for p in psutil.Process(run.process.pid).children() if MODULE in p.cmdline()]
    supervisor.kill()
    code, said = run.ends(SAVE_S)
    assert code == 137 and run.saved() == 2, said


@pytest.mark.slow
def test_by_hand_the_checkpoint_is_written_when_the_launcher_gets_the_signal(tmp_path):
    """One process: its launcher dies of the signal and does not pass it on."""
    run = Run(tmp_path, by_hand=True, more=["trainer.save_steps=10"])
    run.process.send_signal(signal.SIGTERM)
    run.ends(SAVE_S)
    assert run.saved() == 2


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["recipe", pytest.param("data", marks=pytest.mark.long)])
def test_processes_with_different_recipes_are_refused(tmp_path, what):
    """Or with one recipe, whose file of problems is not the same for both."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    line = [sys.executable, "-m", "lenrl.launch.worker", "--config-name", "grpo", *RUN]
    line += [f"output_dir={tmp_path / 'run'}"]
    if what == "data":
        line += ["task=problems.jsonl", "task.split=all"]
    ranks = []
    for rank in range(2):
        folder = tmp_path / f"of{rank}"
        folder.mkdir()
        rows = [{"prompt": f"{n}+1", "answer": str(n + 1 + rank)} for n in range(64)]
        (folder / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
        own = [f"seed={rank}"] if what == "recipe" else []
        of = {**env, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        ranks.append(subprocess.Popen([*line, *own], env=of, cwd=folder, stderr=subprocess.PIPE, text=True))
    for rank in ranks:
        _, said = rank.communicate(timeout=120)
        assert rank.returncode == 2 and "the processes disagree on (recipe, data)" in said, said
    assert not list(tmp_path.rglob("checkpoint-*"))
