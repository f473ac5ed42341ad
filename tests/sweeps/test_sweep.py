"""Trials, reruns, crashes, jobs and signals, with stand-ins for the trials."""

import csv
import fcntl
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from lenrl.cli import main
from lenrl.cli.sweep import EXAMPLES
from lenrl.errors import BadInput
from lenrl.launch.run_folder import locked
from lenrl.sweeps import ledger
from lenrl.sweeps import scheduler as run
from lenrl.sweeps.plan import LOCK
from tests.launch.fakes import gone, wait_for
from tests.sweeps.fakes import events, plan, starts, sweep

ROOT = Path(__file__).parents[2]
GRID = ("seed=0,1", "trainer.learning_rate=1e-4,2e-4,3e-4")  # six trials


def test_a_grid_is_run_and_a_rerun_does_nothing(tmp_path):
    one, said = sweep(plan(tmp_path, *GRID), {2: "ok 0.9 30", 4: "ok 0.95 60"})
    assert one.run() == 0
    assert events(tmp_path) == ["running", "finished"] * 6
    result = json.loads((tmp_path / "sweep.json").read_text())
    assert result["front"] == [2, 4]
    assert result["picks"] == {"most accurate": 4}
    assert result["trials"][2]["overrides"] == ["seed=0", "trainer.learning_rate=0.0003"]
    assert "lenrl train grpo seed=1 trainer.learning_rate=0.0002" in said.getvalue()
    with open(tmp_path / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == list("000111")
    assert float(rows[4]["accuracy"]) == 0.95 and rows[4]["front"] == "True"
    again, _ = sweep(plan(tmp_path, *GRID))
    assert again.run() == 0
    assert [len(starts(tmp_path, n)) for n in range(6)] == [1] * 6


def test_each_trial_has_its_recipe_and_folder_and_a_free_port(tmp_path):
    of = plan(tmp_path, "seed=3,4", "launch=cpu2", "launch.main_process_port=29500", "trainer.max_steps=7")
    assert sweep(of)[0].run() == 0
    for n, seed in enumerate((3, 4)):
        recipe = yaml.safe_load((tmp_path / "recipes" / f"trial-{n:03d}.yaml").read_text())
        assert (recipe["seed"], recipe["trainer"]["max_steps"]) == (seed, 7)
        assert recipe["output_dir"] == str(tmp_path / f"trial-{n:03d}")
        assert recipe["launch"]["main_process_port"] == 0
    assert of.train(1)[1:6] == [
        "-P",
        "-m",
        "lenrl.cli",
        "train",
        str(tmp_path / "recipes" / "trial-001.yaml"),
    ]


def test_a_terminal_shows_steps_figures_and_the_time_left(tmp_path, monkeypatch):
    monkeypatch.setattr("lenrl.sweeps.progress.REFRESH_S", 0.05)
    of, file = plan(tmp_path, "seed=0,1", "trainer.max_steps=10"), io.StringIO()
    line = {"step": 4, "accuracy": 0.5, "tokens_mean": 33.25}
    monkeypatch.setattr(run, "last_step", lambda folder: line if folder.name == "trial-001" else {})
    console = Console(file=file, width=120, force_terminal=True)
    one, _ = sweep(of, {1: "curve 0:0.5:50 1:0.1:5 2:0.1:5"}, console=console, stop_early=True)
    assert one.run() == 0
    shown = file.getvalue()
    assert "4/10" in shown and "50.0%" in shown and "33.2" in shown
    assert re.search(r"1 of 2 trials done, \d+ s left", shown)


def test_a_crash_leaves_the_others_alone_and_a_rerun_repeats_it_alone(tmp_path):
    one, said = sweep(plan(tmp_path, *GRID), {1: "crash"})
    assert one.run() == 1
    assert events(tmp_path, 1) == ["running", "crashed"]
    assert "no memory for" in said.getvalue()  # what the trial said last
    again, _ = sweep(plan(tmp_path, *GRID))
    assert again.run() == 0
    assert [len(starts(tmp_path, n)) for n in range(6)] == [1, 2, 1, 1, 1, 1]


def test_retry_tries_once_more_and_stop_ends_everything(tmp_path):
    retried, _ = sweep(plan(tmp_path / "a", "seed=0,1,2"), {0: "crash", 1: "once 0.6 40"}, on_error="retry")
    assert retried.run() == 1
    assert [len(starts(tmp_path / "a", n)) for n in range(3)] == [2, 2, 1]
    assert ledger.read(tmp_path / "a")[1].accuracy == 0.6
    stopped, _ = sweep(plan(tmp_path / "b", "seed=0,1,2"), {0: "slow", 1: "crash"}, on_error="stop", jobs=2)
    assert stopped.run() == 1
    assert events(tmp_path / "b", 0) == ["running", "interrupted"]
    assert not starts(tmp_path / "b", 2)


def test_jobs_run_side_by_side_and_share_cores_and_gpus(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setattr(run, "cores", lambda: 8)
    of = plan(tmp_path, "seed=0,1,2", "launch=multi_gpu", "launch.num_processes=2")
    one, _ = sweep(of, {0: "beside trial-001", 1: "beside trial-000"}, jobs=2)
    assert one.run() == 0
    seen = [starts(tmp_path, n)[0][1:] for n in range(3)]
    assert {threads for threads, _ in seen} == {"2"}
    assert seen[0][1] == "0,1" and seen[1][1] == "2,3" and seen[2][1] in ("0,1", "2,3")
    assert events(tmp_path)[:2] == ["running", "running"]
    with pytest.raises(BadInput, match="needs 8 GPUs, here are 4"):
        sweep(of, jobs=4)
    with pytest.raises(BadInput, match="one at a time"):
        sweep(plan(tmp_path, "seed=0,1", "launch=multi_node", "launch.main_process_ip=a"), jobs=2)


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    assert sweep(plan(tmp_path, "seed=0,1"))[0].run() == 0
    with pytest.raises(BadInput, match=r"another sweep.*\n.*seed=0,1"):
        sweep(plan(tmp_path, "seed=0,1,2"))[0].run()
    with locked(tmp_path, "sweep"), pytest.raises(BadInput, match="in use by a running sweep"):
        sweep(plan(tmp_path, "seed=0,1"))[0].run()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(BadInput, match="holds no sweep"):
        sweep(plan(tmp_path / "mine", "seed=0,1"))[0].run()


def test_the_folder_is_named_by_what_shapes_the_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def folder(*lines: str, draws: int | None = None) -> Path:
        return run.Plan.read("grpo", lines, draws=draws).folder

    base = folder("seed=0,1")
    assert base.parent == tmp_path / "outputs" / "sweeps" / "grpo"
    assert base == folder("seed=0,1", "logging.every=5")
    assert (
        len(
            {base, folder("seed=0,2"), folder("seed=0,1", "trainer.max_steps=9"), folder("seed=0,1", draws=2)}
        )
        == 4
    )
    assert folder("seed=0,1,2", draws=2) == folder("seed=0,1,2", draws=3)  # more draws continue
    assert folder("seed=0,1", "name=mine").name == "mine"
    with pytest.raises(BadInput, match="path goes into output_dir"):
        folder("seed=0,1", "name=a/b")


def test_a_bad_trial_is_refused_before_any_begins(tmp_path):
    with pytest.raises(BadInput, match=r"reward.weigth=1 can't be trained(.|\n)*weigth"):
        sweep(plan(tmp_path, "reward=kimi", "seed=0,1", "reward.weigth=1,2"))
    with pytest.raises(BadInput, match="the trial seed=-1"):
        sweep(plan(tmp_path, "seed=0,-1"))[0].run()
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["grpo", "seed=1"], "no key has several values"),
        (["grpo", "trainer.learning_rate=interval(0,1)"], "--trials N"),
        (["grpo", "seed=range(101)", "task.train=range(100,200)"], "10100 trials"),
        (["grpo", "seed=0,1", "--trial", "2"], "trials 0 to 1"),
        (["grpo", "seed=0,1", "--jobs", "0"], "at least 1"),
        (["grpo", "seed=0,1", "--on-error", "panic"], "panic"),
        (["grpp", "seed=0,1"], "grpo"),
    ],
)
def test_bad_words_are_refused_with_one_message(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def lines_of_sweeps() -> list[str]:
    """Every `lenrl sweep` that help, docs/start.md and the Slurm script tell a user to type."""
    text = (ROOT / "docs" / "start.md").read_text().replace("\\\n", " ")
    script = (ROOT / "scripts" / "slurm" / "sweep.sbatch").read_text()
    found = [*EXAMPLES, *re.findall(r"^lenrl sweep .*$", text, re.MULTILINE)]
    return found + [
        f"lenrl sweep {words}" for words in re.findall(r"sbatch --array.*sweep\.sbatch (.*)", script)
    ]


@pytest.mark.parametrize("line", lines_of_sweeps())
def test_what_users_are_told_to_type_is_a_sweep(line):
    given = [word for word in shlex.split(line, comments=True)[2:] if not word.startswith("--")]
    draws = None
    if "--trials" in line or "--jobs" in line:
        count = given.pop()
        draws = int(count) if "--trials" in line else None
    of = run.Plan.read(given[0], given[1:], draws=draws)
    assert of.count > 1 and of.folder.parts[-4:-2] == ("outputs", "sweeps")


def test_a_trial_of_an_array_runs_alone_beside_others(tmp_path):
    of = plan(tmp_path, "seed=0,1,2")
    with locked(tmp_path, "sweep", shared=True):  # another index of the array
        assert sweep(of, only=1)[0].run() == 0
        crashing, _ = sweep(of, {2: "crash"}, only=2)
        assert crashing.run() == 1 and (crashing.progress.done, crashing.progress.total) == (0, 1)
        with pytest.raises(BadInput, match="in use"):
            sweep(of)[0].run()
    assert [len(starts(tmp_path, n)) for n in range(3)] == [0, 1, 1]
    again, said = sweep(of, only=1)
    assert again.run() == 0 and (again.progress.done, again.progress.total) == (1, 1)
    assert "trial 1 was finished before" in said.getvalue() and len(starts(tmp_path, 1)) == 1
    with locked(tmp_path / "trial-000", "run"), pytest.raises(BadInput, match="in use by a running run"):
        sweep(of, only=0)[0].run()


def test_tasks_of_an_array_that_come_at_once_note_the_plan_one_after_the_other(tmp_path):
    first, second = (plan(tmp_path, "seed=0,1,2") for _ in range(2))
    assert first.digest == second.digest
    (tmp_path / "plan.json.17.part").touch()  # left by a kill
    with ThreadPoolExecutor(1) as pool, open(tmp_path / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(second.settle)
        time.sleep(0.1)
        first._settle(tmp_path / "plan.json")
        (tmp_path / "recipes").mkdir()
        assert not waiting.done()
        fcntl.flock(lock, fcntl.LOCK_UN)
        waiting.result(20)
    assert {p.name for p in tmp_path.iterdir()} == {LOCK, "plan.json", "recipes"}


def test_collect_shows_what_there_is_and_runs_nothing(tmp_path, capsys):
    sweep(plan(tmp_path, "seed=0,1,2"), {1: "crash"}, only=1)[0].run()
    assert main(["sweep", "grpo", f"output_dir={tmp_path}", "seed=0,1,2", "--collect"]) == 0
    shown = capsys.readouterr().out
    assert "waiting" in shown and "crashed" in shown
    assert [t["status"] for t in json.loads((tmp_path / "sweep.json").read_text())["trials"]] == [
        "waiting",
        "crashed",
        "waiting",
    ]
    assert not starts(tmp_path, 0)


def test_hopeless_trials_are_stopped_and_stay_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("lenrl.sweeps.progress.REFRESH_S", 0.1)
    how = {0: "ok 0.8 50", 1: "curve 0:0.8:90 1:0.3:10 2:0.1:5"}
    one, said = sweep(plan(tmp_path, "seed=0,1"), how, stop_early=True)
    assert one.run() == 0
    trial = ledger.read(tmp_path)[1]
    assert trial.status == "stopped" and trial.accuracy == 0.1
    assert trial.reason is not None and trial.reason.startswith("collapsed")
    assert "collapsed" in said.getvalue()
    assert json.loads((tmp_path / "sweep.json").read_text())["front"] == [0]
    assert sweep(plan(tmp_path, "seed=0,1"))[0].run() == 0
    assert len(starts(tmp_path, 1)) == 1


def start(folder: Path, how: dict[int, str], jobs: int, *lines: str) -> subprocess.Popen:
    """A sweep in a process of its own, so that it can be signalled."""
    line = [sys.executable, "-m", "tests.sweeps.fakes", str(folder), json.dumps(how), str(jobs), *lines]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(line, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, 143),
        (signal.SIGKILL, -9),
    ],
)
def test_signals_end_every_trial_which_saves_and_a_rerun_does_exactly_the_rest(tmp_path, number, code):
    parent = start(tmp_path, {0: "ok 0.7 30", 1: "slow", 2: "slow"}, 2, "seed=0,1,2,3")
    wait_for(lambda: starts(tmp_path, 1) and starts(tmp_path, 2), 60)
    pids = [int(starts(tmp_path, n)[0][0]) for n in (1, 2)]
    parent.send_signal(number)
    assert parent.wait(60) == code
    if number == signal.SIGKILL:  # its trials are still saving
        with pytest.raises(BadInput, match="in use by a running sweep"), locked(tmp_path, "sweep"):
            pass
    wait_for(lambda: events(tmp_path).count("interrupted") == 2)
    assert all(gone(pid) for pid in pids)
    saved = {(tmp_path / f"trial-{n:03d}" / "saved").read_text() for n in (1, 2)}
    assert saved == {str(int(number if number != signal.SIGKILL else signal.SIGTERM))}
    assert not starts(tmp_path, 3)
    held = time.monotonic() + 10
    while True:  # the last trial process may still be closing
        try:
            assert sweep(plan(tmp_path, "seed=0,1,2,3"))[0].run() == 0
            break
        except BadInput:
            assert time.monotonic() < held
    assert [len(starts(tmp_path, n)) for n in range(4)] == [1, 2, 2, 1]


def test_a_killed_trial_process_takes_its_trial_along_and_the_trial_counts_as_crashed(tmp_path):
    parent = start(tmp_path, {0: "slow"}, 1, "seed=0,1")
    wait_for(lambda: starts(tmp_path, 0), 60)
    trial = int(starts(tmp_path, 0)[0][0])
    import psutil

    psutil.Process(trial).parent().kill()
    assert parent.wait(60) == 1
    wait_for(lambda: gone(trial))
    assert events(tmp_path, 0) == ["running", "crashed"]
    assert events(tmp_path, 1) == ["running", "finished"]
