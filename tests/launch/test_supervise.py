"""Exit codes, signals and orphans, with stand-ins for launcher and ranks."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lenrl.errors import BadInput
from lenrl.launch.lifeline import identity, ranks_hold
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


def test_a_rank_that_leaves_without_a_word_is_a_failure_also_with_exit_code_0(tmp_path, capfd):
    rank = "import os; open(os.environ['LENRL_STATUS'] + '/pid-0', 'w').write(str(os.getpid())); os._exit(0)"
    assert supervise([sys.executable, "-c", rank], env=environment()) == 1
    assert "rank 0 of 1 failed first: it died without a word" in capfd.readouterr().err


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
    folder = tmp_path / "a run: the first"
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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system keeps the time of day")
def test_a_clock_that_is_set_makes_no_other_process(monkeypatch):
    pid = os.getpid()
    before, began = identity(pid), psutil.Process(pid).create_time()
    ticks = int(before.split()[1])
    assert ticks / os.sysconf("SC_CLK_TCK") + psutil.boot_time() == pytest.approx(began, abs=2)
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 0.0)
    assert psutil.Process(pid).create_time() != began, "psutil's follows the clock"
    assert identity(pid) == before != identity(os.getppid())
    child = subprocess.Popen(["true"])
    child.wait()
    assert not identity(child.pid)


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


TALKS = """
import os, subprocess, sys
if "LOCAL_RANK" not in os.environ:  # the launcher
    ranks = [subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[1]], env={**os.environ, "LOCAL_RANK": n})
             for n in "01"]
    sys.exit(max(rank.wait() for rank in ranks))
from pathlib import Path
from lenrl import streams
from lenrl.launch.outputs import pipe_of
streams.divert(pipe_of(Path(os.environ["LENRL_STATUS"]), os.environ["LOCAL_RANK"]))
assert streams.terminal() is None
print("loads 1%\\rloads 100%")
print("token", os.environ["HF_TOKEN"], chr(27) + "[0m")
os.write(2, b"from C, and no end of the line")
os._exit(0)
"""


def test_what_all_ranks_print_is_passed_on_and_logged_with_time_and_rank(tmp_path, capfd):
    log, secret = tmp_path / "train.log", "hf_notarealtokenatall"
    line = [sys.executable, "-c", TALKS, TALKS]
    assert supervise(line, 2, log=log, first_rank=2, env={**environment(), "HF_TOKEN": secret}) == 0
    said = log.read_text().splitlines()
    for rank in (2, 3):
        own = [text.split(f" rank {rank}: ")[1] for text in said if f" rank {rank}: " in text]
        assert own == ["loads 100%", "token *** \u241b[0m", "from C, and no end of the line"]
    assert len(said) == 6
    for text in said:
        time.strptime(text.split(" ")[0], "%Y-%m-%dT%H:%M:%SZ")
    assert capfd.readouterr().err.count("from C, and no end of the line") == 2


def test_a_log_that_can_not_be_written_is_said_and_costs_nothing_else(tmp_path, capfd):
    env = {**environment(), "HF_TOKEN": "x"}
    assert supervise([sys.executable, "-c", TALKS, TALKS], 2, log=tmp_path / "no" / "train.log", env=env) == 0
    said = capfd.readouterr().err
    assert said.count("train.log can't be written (No such file or directory)") == 1
    assert said.count("loads 100%") == 2


def test_what_a_rank_started_ends_with_the_run(tmp_path):
    rank = "import os, subprocess, sys; p = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
    rank += f"open(r'{tmp_path / 'child'}', 'w').write(str(p.pid))"
    assert supervise([sys.executable, "-c", rank], env=environment()) == 0
    assert gone(int((tmp_path / "child").read_text()))


def test_a_rank_that_exits_with_0_in_the_middle_says_so(tmp_path, monkeypatch):
    from lenrl import run_process
    from lenrl.launch import worker

    monkeypatch.setenv(worker.STATUS, str(tmp_path))
    monkeypatch.setattr(worker, "_end_with_launcher", lambda: None)
    monkeypatch.setattr(worker, "tie", lambda save_s: None)
    monkeypatch.setattr(worker, "_cut_short", lambda code: None)
    monkeypatch.setattr(run_process, "main", lambda *_: sys.exit(0))
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        assert worker.main() == 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (tmp_path / "0").read_text() == "1"
    assert (tmp_path / "how-0").read_text().startswith("it left with exit code 0 in <lambda> (")


def test_the_launcher_of_a_single_rank_loads_nothing_and_tells_a_failure():
    """It stays as long as the rank does; torch in it would be 230 MiB."""
    code = (
        "import sys; from lenrl.launch.launcher import main; sys.argv[1:] = ['--', sys.executable, '-c', 'exit(7)']; "
        "assert main() == 1; assert not {'torch', 'accelerate', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
