"""wandb and other trackers next to the local log: it gets everything, and it cannot end a run."""

import json
import threading
import time
from types import SimpleNamespace

import pytest

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.monitors import trackers
from lenrl.monitors.aside import Aside
from lenrl.monitors.trackers import TRACKERS, run_id
from tests.training.runs import small_run


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The folder of the run in which wandb's files are."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "run"
    import wandb

    wandb.finish()
    monkeypatch.delenv("WANDB_PROJECT", raising=False)


def test_wandb_gets_the_metrics_of_a_run_offline(tmp_path, offline):
    options = ["logging.entity=us", "logging.group=pairs", "logging.tags=[a, b]", "logging.notes=words"]
    options += ["logging.report_to=wandb", "logging.project=mine", "trainer.eval_steps=2"]
    trainer, verifier = small_run("grpo", tmp_path / "run", *options)
    import wandb

    with verifier:
        trainer.train()
    trackers.close(trainer.callback_handler.callbacks, tmp_path / "run", 20)
    assert wandb.run is not None and (wandb.run.entity, wandb.run.project) == ("us", "mine")
    assert (wandb.run.group, wandb.run.tags, wandb.run.notes) == ("pairs", ("a", "b"), "words")
    seen = dict(wandb.run.summary)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert seen["train/global_step"] == 2
    assert seen["train/tokens_mean"] == pytest.approx(last["tokens_mean"])
    assert seen["train/penalty_leverage"] == pytest.approx(last["penalty_leverage"])
    assert seen["eval/tokens"] > 0, "figures on the development problems"
    wandb.finish()
    (log,) = (offline / "wandb").rglob("run-*.wandb")
    deadline = time.monotonic() + 30  # wandb's own process writes the file
    while b"penalty_leverage" not in log.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert b"penalty_leverage" in log.read_bytes()


def test_a_wandb_that_raises_is_said_once_and_does_not_stop_the_run(tmp_path, offline, monkeypatch, caplog):
    from transformers.integrations.integration_utils import WandbCallback

    calls = []

    def broken(self, *args, **kwargs):
        calls.append(args)
        raise ConnectionError("no route to wandb")

    monkeypatch.setattr(WandbCallback, "on_log", broken)
    trainer, verifier = small_run("grpo", tmp_path / "run", "logging.report_to=wandb")
    with verifier:
        trainer.train()
    trackers.close(trainer.callback_handler.callbacks, tmp_path / "run", 20)
    assert trainer.state.global_step == 2
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert len(calls) == 1
    said = [record for record in caplog.records if "no route to wandb" in record.getMessage()]
    assert len(said) == 1 and "WandbCallback" in said[0].getMessage()


class Blocking:
    """A tracker whose server takes the connection and never answers."""

    def __init__(self):
        self.released = threading.Event()
        self.got = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.released.wait(60)

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.got.append((state.global_step, dict(logs)))


def test_a_tracker_that_blocks_delays_nothing_and_is_said_once(tmp_path, caplog):
    callback = Blocking()
    aside = Aside(callback, waiting=5)
    began = time.monotonic()
    assert not trackers.silent(tmp_path)
    aside.on_train_begin(SimpleNamespace(), SimpleNamespace(global_step=0), None)
    for step in range(20):
        aside.on_log(SimpleNamespace(), SimpleNamespace(global_step=step), None, logs={"reward": 1.0})
    trackers.close([aside, object()], tmp_path, 20)
    assert time.monotonic() - began < 30  # it blocks for 60
    assert [r.getMessage() for r in caplog.records] == [
        "Blocking is 5 events behind: it gets nothing more of this run. Training goes on, metrics.jsonl is complete."
    ]
    callback.released.set()


def test_trackers_that_do_not_answer_are_waited_for_once_all_together(tmp_path, caplog, monkeypatch):
    kinds = ("WandbCallback", "MLflowCallback", "TrackioCallback")
    asides = [Aside(type(kind, (Blocking,), {})()) for kind in kinds]
    for aside in asides:
        aside.on_train_begin(SimpleNamespace(), SimpleNamespace(global_step=0), None)
    asides[2].callback.released.set()  # this one answers
    asides[2].flush(time.monotonic() + 20)
    now = [0.0]
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    trackers.close(asides, tmp_path, 30, finish=True)
    assert 30 <= now[0] < 30.2
    assert trackers.silent(tmp_path) == ["wandb", "mlflow"]
    assert [record.getMessage()[:40] for record in caplog.records] == [
        "WandbCallback does not answer (2 events ", "MLflowCallback does not answer (2 events",
    ]  # fmt: skip
    trackers.set_aside([], [], tmp_path, compose("grpo").logging)
    assert trackers.silent(tmp_path) == [], "a new leg tries again"


def test_a_tracker_that_is_slow_gets_what_was_logged_and_not_what_came_later():
    callback = Blocking()
    aside, state, logs = Aside(callback), SimpleNamespace(global_step=1), {"reward": 1.0}
    aside.on_train_begin(SimpleNamespace(), state, None)
    aside.on_log(SimpleNamespace(), state, None, logs=logs)
    state.global_step, logs["reward"] = 2, 5.0
    callback.released.set()
    aside.flush(time.monotonic() + 5)
    assert callback.got == [(1, {"reward": 1.0})]


def test_every_leg_of_a_run_has_the_same_id(tmp_path, offline):
    """wandb itself, offline: its files are named by the run's id."""
    import wandb

    for _ in range(2):
        trainer, verifier = small_run("grpo", tmp_path / "run", "logging.report_to=wandb")
        trainer.callback_handler.on_train_begin(trainer.args, trainer.state, trainer.control)
        trackers.close(trainer.callback_handler.callbacks, tmp_path / "run", 20)
        verifier.close()
        known = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]
        assert wandb.run is not None and wandb.run.id == known
        wandb.finish()


def test_what_only_wandb_reads_is_refused_without_it():
    with pytest.raises(BadInput, match=r"logging.group='pairs' is for wandb, and logging.report_to is \[\]"):
        compose("grpo", ["logging.group=pairs"])


def test_ids_are_kept_per_tracker_and_a_given_one_is_taken_over(tmp_path):
    first = run_id(tmp_path, "wandb")
    assert run_id(tmp_path, "wandb") == first != run_id(tmp_path, "trackio")
    assert run_id(tmp_path, "wandb", chosen="mine") == "mine" == run_id(tmp_path, "wandb")


def test_trackio_resumes_by_a_name_that_no_other_folder_has(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    names = []
    for folder in ("a", "a", "b"):
        args = SimpleNamespace(run_name="drpo/x")
        TRACKERS["TrackioCallback"].begin(None, tmp_path / folder, compose("grpo").logging)(args, None)
        names.append(args.run_name)
    assert names[0] == names[1] != names[2] and names[0].startswith("drpo/x-")


def test_tensorboard_goes_on_in_one_folder_and_hides_what_a_killed_leg_wrote(tmp_path):
    made = []
    callback = SimpleNamespace(logging_dir=None, _SummaryWriter=lambda **given: made.append(given))
    begin = TRACKERS["TensorBoardCallback"].begin(callback, tmp_path, compose("grpo").logging)
    begin(None, SimpleNamespace(global_step=4))
    assert made == [{"log_dir": str(tmp_path / "tensorboard"), "purge_step": 5}]
