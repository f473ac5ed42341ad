"""A signal in any phase of a step: one checkpoint, whole, and a run that ends as if it had never been stopped."""

import hashlib
import json
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from lenrl.config import compose
from lenrl.run_process import run
from lenrl.training import checkpoint
from lenrl.training.signals import Stopped, StopSignal
from lenrl.training.watchdog import Watchdog
from tests.launch.fakes import wait_for
from tests.training.runs import SMALL, launch

LONG_S = 60.0  # of a phase that is to be left
SOON_S = 30.0  # in which it must be
RUN = [*SMALL, "trainer.max_steps=5", "trainer.save_steps=2", "trainer.eval_steps=3", "task.train=16"]


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def options(folder, *more):
    return compose("palu", [*RUN, f"output_dir={folder}", *more])


def outcome(folder):
    import pyarrow.parquet as pq

    files = sorted((folder / "completions").glob("*"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest(),
        "completions": [(row["step"], row["prompt"], row["completion"], row["advantage"]) for row in rows],
        "metrics": [{k: v for k, v in line.items() if "_s" not in k} for line in lines],
        "dev": (folder / "dev.jsonl").read_text(),
    }


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    run(options(folder))
    return outcome(folder)


def interrupt(monkeypatch, owner, name, call, *, number=signal.SIGTERM, linger=True):
    """At its `call`-th call the function gets a signal, and then takes long."""
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        calls.append(time.monotonic())
        if len(calls) == call:
            os.kill(os.getpid(), number)
            if linger:
                time.sleep(LONG_S)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)
    return calls


def owners():
    """Where a phase is met: (owner, function, call at step 4 or in the evaluation of step 3, may be left)."""
    from lenrl.generation import transformers_engine as engine
    from lenrl.strategies.method import Method
    from lenrl.training import rollout, trainer
    from lenrl.verify.claims import PendingVerdicts

    return {
        "generation": (rollout, "sample_rows", 4, True, 3),
        "scoring": (PendingVerdicts, "verdicts", 6, True, 3),
        "reward": (Method, "rewards", 13, True, 3),  # four times a rollout, three of them for the figures
        "update": (trainer.SlottedGRPO, "_get_grad_norm", 4, False, 4),
        "save": (checkpoint, "write_state", 1, False, 2),
        "evaluation": (engine, "sample", 2, True, 3),
    }


@pytest.mark.parametrize("phase", ["generation", "scoring", "reward", "update", "save", "evaluation"])
def test_a_signal_in_any_phase_leaves_a_whole_checkpoint_and_an_exact_run(
    tmp_path, monkeypatch, straight, phase
):
    owner, name, call, linger, step = owners()[phase]
    stop = StopSignal()
    stop.install()
    with monkeypatch.context() as patch:
        calls = interrupt(patch, owner, name, call, linger=linger)
        with pytest.raises(Stopped) as stopped:
            run(options(tmp_path), stop)
    assert stopped.value.code == 143
    assert time.monotonic() - calls[-1] < SOON_S
    newest = checkpoint.newest_good(tmp_path)
    assert newest is not None and checkpoint.step_of(newest) == step
    assert not list(tmp_path.rglob("*.tmp")) and not (tmp_path / "model").exists()
    run(options(tmp_path))
    assert outcome(tmp_path) == straight


@pytest.mark.long
@pytest.mark.slow
def test_one_of_two_processes_is_signalled_in_any_phase_and_both_leave_at_one_step(tmp_path):
    """The other one gets no signal; the state is written by the first, which the signal meets in the save."""
    done = launch("signals_on_two.py", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second and set(first) == {"update", "save", "evaluation"}
    for phase, found in first.items():
        assert found == {**found, "code": 143, "step": found["expected"], "left": [], "equal": True}, phase


def test_sigint_before_the_first_step_has_ended_leaves_nothing_half_done(tmp_path, monkeypatch, straight):
    from lenrl.training import rollout

    stop = StopSignal()
    stop.install()
    with monkeypatch.context() as patch:
        interrupt(patch, rollout, "sample_rows", 1, number=signal.SIGINT)
        with pytest.raises(Stopped) as stopped:
            run(options(tmp_path), stop)
    assert stopped.value.code == 130
    assert checkpoint.newest_good(tmp_path) is None and not list(tmp_path.glob("checkpoint-*"))
    run(options(tmp_path))
    assert outcome(tmp_path) == straight


def test_more_signals_change_nothing(tmp_path, monkeypatch):
    """The second one comes while the checkpoint that the first one asked for is written."""
    from lenrl.training import rollout

    stop = StopSignal()
    stop.install()
    interrupt(monkeypatch, rollout, "sample_rows", 2)
    saves = interrupt(monkeypatch, checkpoint, "write_state", 1, number=signal.SIGINT, linger=False)
    with pytest.raises(Stopped) as stopped:
        run(options(tmp_path), stop)
    assert len(saves) == 1 and stopped.value.code == 143
    assert checkpoint.step_of(checkpoint.newest_good(tmp_path)) == 1


def test_a_signal_before_training_ends_the_process_at_once():
    stop = StopSignal()
    stop.install()
    with pytest.raises(Stopped) as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert stopped.value.code == 143


def test_an_update_that_takes_too_long_is_discarded(tmp_path, monkeypatch):
    """Two micro-batches a step; the signal comes in the first one of step 2."""
    from trl import GRPOTrainer

    from lenrl.training import trainer

    more = ["trainer.gradient_accumulation_steps=2", "trainer.max_steps=3"]
    run(options(tmp_path / "straight", *more))
    monkeypatch.setattr(trainer, "UPDATE_S", 0.0)
    stop = StopSignal()
    stop.install()
    with monkeypatch.context() as patch:
        interrupt(patch, GRPOTrainer, "_compute_loss", 3, linger=False)
        with pytest.raises(Stopped):
            run(options(tmp_path / "stopped", *more), stop)
    assert checkpoint.step_of(checkpoint.newest_good(tmp_path / "stopped")) == 1
    run(options(tmp_path / "stopped", *more))
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")


class Store(dict):
    """The part of the process group's store that is used, for processes that are threads."""

    def check(self, keys):
        return all(key in self for key in keys)

    def get(self, key):
        return self[key].encode()

    def set(self, key, value):
        self[key] = value


def test_a_signal_reaches_the_other_process_while_it_works_alone(tmp_path):
    """The other process's part is played by the store: it says that it has got SIGTERM."""
    stop, store = StopSignal(), Store()
    stop.install()
    stop.begin()
    with Watchdog(stop, tmp_path, rank=0, processes=2, hang_timeout_s=60, store=store):
        threading.Timer(0.5, store.set, ["lenrl/stop", str(int(signal.SIGTERM))]).start()
        began = time.monotonic()
        with pytest.raises(Stopped):
            stop.run("sampling", lambda: time.sleep(LONG_S))
    assert time.monotonic() - began < SOON_S
    assert json.loads(store["lenrl/beat/0"])[1].startswith("sampling")
    assert not (tmp_path / "stacks").exists(), "no stacks of a run that does not hang"


def test_processes_that_end_together_may_both_remove_the_folder_of_stacks(tmp_path):
    stop = StopSignal()
    with Watchdog(stop, tmp_path, rank=0, processes=1, hang_timeout_s=60) as watchdog:
        watchdog.path.unlink()
        watchdog.path.parent.rmdir()
    assert not watchdog.path.parent.exists()


@pytest.fixture
def clock(monkeypatch):
    """The watchdog's clock, which stands still until a test moves it: `clock.now += 1.0`, seconds."""
    clock = SimpleNamespace(now=1000.0, sleep=lambda _: None)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("lenrl.training.watchdog.time", clock)
    return clock


def test_a_run_that_hangs_says_where_and_ends(tmp_path, caplog, clock):
    """Also among more threads than faulthandler lists."""
    ended = threading.Event()
    for _ in range(120):
        threading.Thread(target=ended.wait, args=(LONG_S,), daemon=True).start()
    found = []

    def end(code, how):
        found.append((code, how))
        ended.set()

    def stuck_here():
        wait_for(lambda: "verification" in watchdog.seen[0][0])
        clock.now += 1.1
        ended.wait(LONG_S)

    stop = StopSignal()
    with Watchdog(stop, tmp_path, rank=0, processes=1, hang_timeout_s=1, end=end) as watchdog:
        stop.run("verification", stuck_here)
    code, how = found[0]
    assert code == 1 and how.startswith("rank 0 of 1 stopped answering: verification, in wait (")
    assert how.endswith(str(tmp_path / "stacks" / "rank0.txt"))
    assert "stuck_here" in (tmp_path / "stacks" / "rank0.txt").read_text()
    assert "guard.hang_timeout_s" in caplog.text and "rank 0: verification" in caplog.text


def test_a_process_that_waits_for_one_that_works_does_not_hang(tmp_path, clock):
    """20 times in a row the other process reports 0.9 s after its last report, of 1 s that it may be silent."""
    stop, store, ended = StopSignal(), Store(), []
    watchdog = Watchdog(
        stop, tmp_path, rank=0, processes=2, hang_timeout_s=1, store=store, end=lambda *a: ended.append(a)
    )
    with watchdog:
        for beat in range(20):
            report = json.dumps([beat, "sampling"])
            store.set("lenrl/beat/1", report)
            wait_for(lambda report=report: watchdog.seen[1][0] == report)
            clock.now += 0.9
        assert not ended
        clock.now += 0.2
        wait_for(lambda: ended)
