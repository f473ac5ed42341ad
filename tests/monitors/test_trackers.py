"""wandb and other trackers next to the local log: it gets everything, and it cannot end a run."""

import json
import threading
import time
from types import SimpleNamespace

import pytest

from lenrl.monitors import trackers
from lenrl.monitors.trackers import CONTINUING, Aside, run_id
from tests.training.runs import small_run


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb-dir"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    (tmp_path / "wandb-dir").mkdir()
    yield tmp_path / "wandb-dir"
    import wandb

    wandb.finish()
    monkeypatch.delenv("WANDB_PROJECT", raising=False)


def test_wandb_gets_the_metrics_of_a_run_offline(tmp_path, offline):
    trainer, verifier = small_run(
        "grpo", tmp_path / "run", "logging.report_to=wandb", "logging.project=mine", "trainer.eval_steps=2"
    )
    import wandb

    with verifier:
        trainer.train()
    assert wandb.run is not None and wandb.run.project == "mine"
    seen = dict(wandb.run.summary)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert seen["train/global_step"] == 2
    assert seen["train/tokens_mean"] == pytest.approx(last["tokens_mean"])
    assert seen["train/penalty_leverage"] == pytest.approx(last["penalty_leverage"])
    assert seen["eval/tokens"] > 0, "figures on the development problems"
    wandb.finish()
    (log,) = offline.rglob("run-*.wandb")
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


def test_a_tracker_that_blocks_delays_nothing_and_is_said_once(caplog):
    callback = Blocking()
    aside = Aside(callback, waiting=5)
    began = time.monotonic()
    aside.on_train_begin(SimpleNamespace(), SimpleNamespace(global_step=0), None)
    for step in range(20):
        aside.on_log(SimpleNamespace(), SimpleNamespace(global_step=step), None, logs={"reward": 1.0})
    trackers.close([aside, object()])
    assert time.monotonic() - began < 30  # it blocks for 60
    assert [r.getMessage() for r in caplog.records] == [
        "Blocking is 5 events behind: it gets nothing more of this run. Training goes on, metrics.jsonl is complete."
    ]
    callback.released.set()


def test_a_tracker_that_is_slow_gets_what_was_logged_and_not_what_came_later():
    callback = Blocking()
    aside, state, logs = Aside(callback), SimpleNamespace(global_step=1), {"reward": 1.0}
    aside.on_train_begin(SimpleNamespace(), state, None)
    aside.on_log(SimpleNamespace(), state, None, logs=logs)
    state.global_step, logs["reward"] = 2, 5.0
    callback.released.set()
    aside.flush(5)
    assert callback.got == [(1, {"reward": 1.0})]


def test_every_leg_of_a_run_has_the_same_id(tmp_path, offline):
    """wandb itself, offline: its files are named by the run's id."""
    import wandb

    for _ in range(2):
        trainer, verifier = small_run("grpo", tmp_path / "run", "logging.report_to=wandb")
        trainer.callback_handler.on_train_begin(trainer.args, trainer.state, trainer.control)
        trackers.close(trainer.callback_handler.callbacks)
        verifier.close()
        known = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]
        assert wandb.run is not None and wandb.run.id == known
        wandb.finish()


def test_ids_are_kept_per_tracker_and_a_given_one_is_taken_over(tmp_path):
    first = run_id(tmp_path, "wandb")
    assert run_id(tmp_path, "wandb") == first != run_id(tmp_path, "trackio")
    assert run_id(tmp_path, "wandb", chosen="mine") == "mine" == run_id(tmp_path, "wandb")


def test_trackio_resumes_by_a_name_that_no_other_folder_has(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    names = []
    for folder in ("a", "a", "b"):
        args = SimpleNamespace(run_name="drpo/x")
        CONTINUING["TrackioCallback"](None, tmp_path / folder)(args, None)
        names.append(args.run_name)
    assert names[0] == names[1] != names[2] and names[0].startswith("drpo/x-")


def test_tensorboard_goes_on_in_one_folder_and_hides_what_a_killed_leg_wrote(tmp_path):
    made = []
    callback = SimpleNamespace(logging_dir=None, _SummaryWriter=lambda **given: made.append(given))
    CONTINUING["TensorBoardCallback"](callback, tmp_path)(None, SimpleNamespace(global_step=4))
    assert made == [{"log_dir": str(tmp_path / "tensorboard"), "purge_step": 5}]
