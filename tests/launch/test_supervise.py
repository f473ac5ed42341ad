"""Exit codes, signals and orphans, with stand-ins for launcher and ranks."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from lenrl.errors import BadInput
from lenrl.launch.lifeline import ranks_hold
from lenrl.launch.run_folder import locked
from lenrl.launch.supervise import supervise
from tests.launch.fakes import SIGNALS, descendants, environment, gone, launcher, pids, wait_for

PARENT = """
import json, sys
from lenrl.launch.supervise import supervise
sys.exit(supervise(json.loads(sys.argv[1]), int(sys.argv[2])))
"""


LOCKED = """
import json, sys
from pathlib import Path
from lenrl.launch.lifeline import ranks_hold
from lenrl.launch.run_folder import locked
from lenrl.launch.supervise import supervise
with locked(Path(sys.argv[1]), "run") as lock:
    sys.exit(supervise(json.loads(sys.argv[2]), 2, hold=[lock]))
"""


def start(folder, *hows):
    """`lenrl train`'s part in a process of its own, so that it can be signalled."""
    line = [sys.executable, "-c", PARENT, json.dumps(launcher(folder, *hows)), str(len(hows))]
    return subprocess.Popen(line, env=environment(), start_new_session=True)


@pytest.mark.parametrize(
    ("hows", "code"),
    [(["0"], 0), (["0", "0"], 0), (["2", "2"], 2), (["1", "143"], 1), (["143", "143"], 143), (["0", "3"], 1)],
)
def test_exit_codes_are_passed_on(tmp_path, hows, code):
    assert supervise(launcher(tmp_path, *hows), len(hows), env=environment()) == code


def test_a_rank_killed_from_outside_is_a_failure_and_not_a_signal_of_ours(tmp_path):
    parent = start(tmp_path, "save", "143")
    os.kill(pids(tmp_path, 2)[0], signal.SIGKILL)
    assert parent.wait(20) == 1


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_signal_reaches_every_rank_once_and_the_run_ends_after_they_have_saved(tmp_path, number, ranks):
    parent = start(tmp_path, *["save"] * ranks)
    started = pids(tmp_path, ranks)
    parent.send_signal(number)
    assert parent.wait(20) == SIGNALS[number]
    for rank, pid in enumerate(started):
        assert (tmp_path / f"signal{rank}").read_text().split() == [str(int(number))]
        assert (tmp_path / f"saved{rank}").exists()
        assert gone(pid)


def test_a_launcher_that_dies_leaves_no_rank_behind(tmp_path):
    parent = start(tmp_path, "save", "save")
    started = pids(tmp_path, 2)
    died = psutil.Process(started[0]).parent()
    assert died is not None
    died.kill()
    assert parent.wait(20) == 1, "no signal of ours: a failure"
    assert all(gone(pid) for pid in started)
    assert (tmp_path / "saved1").exists()


def test_a_killed_parent_leaves_no_orphans_and_the_ranks_save(tmp_path):
    parent = start(tmp_path, "save", "save")
    pids(tmp_path, 2)
    below = descendants(parent.pid)
    assert len(below) >= 4  # supervisor, launcher, two ranks
    parent.kill()
    parent.wait()
    wait_for(lambda: all(gone(pid) for pid in below))
    assert (tmp_path / "saved0").exists() and (tmp_path / "saved1").exists()


def test_the_ranks_of_a_killed_supervisor_hold_the_folder_save_and_end(tmp_path):
    """Nobody is left to signal them, and no second launch may have the folder before they are gone."""
    folder = tmp_path / "run"
    line = [sys.executable, "-c", LOCKED, str(folder), json.dumps(launcher(tmp_path, "tied", "tied"))]
    parent = subprocess.Popen(line, env=environment(), start_new_session=True)
    ranks = pids(tmp_path, 2)
    (supervisor,) = [
        p for p in psutil.Process(parent.pid).children() if "lenrl.launch.supervisor" in p.cmdline()
    ]
    for rank in ranks:
        os.kill(rank, signal.SIGSTOP)  # as one that is long in a step
    supervisor.kill()
    assert parent.wait(20) == 137
    with (
        pytest.raises(BadInput, match="processes of a run whose supervisor was killed"),
        locked(folder, "run"),
    ):
        pass
    for rank in ranks:
        os.kill(rank, signal.SIGCONT)
    wait_for(lambda: all(map(gone, ranks)) and not ranks_hold(folder))
    assert [(tmp_path / f"saved{n}").exists() for n in (0, 1)] == [True, True]
    with locked(folder, "run"):
        pass


def test_a_third_signal_kills_what_does_not_listen(tmp_path):
    parent = start(tmp_path, "stubborn")
    (pid,) = pids(tmp_path, 1)
    noted = tmp_path / "signal0"
    for count in (1, 2):
        parent.send_signal(signal.SIGTERM)
        wait_for(lambda n=count: noted.exists() and len(noted.read_text().split()) == n)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(20) == 143
    assert gone(pid)


def test_a_signal_before_any_rank_has_started_ends_the_run(tmp_path):
    line = [sys.executable, "-c", "import time; open(r'%s', 'w').close(); time.sleep(60)" % (tmp_path / "up")]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, json.dumps(line), "1"], env=environment())
    wait_for((tmp_path / "up").exists)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(20) == 143


def test_what_a_rank_started_ends_with_the_run(tmp_path):
    rank = "import os, subprocess, sys; p = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
    rank += f"open(r'{tmp_path / 'child'}', 'w').write(str(p.pid))"
    assert supervise([sys.executable, "-c", rank], env=environment()) == 0
    assert gone(int((tmp_path / "child").read_text()))
