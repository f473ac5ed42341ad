"""wandb beside the local log: it gets everything, and it cannot end a run."""

import json
import time

import pytest

from lenrl.engine.trackers import Forgiving
from tests.engine.runs import small_run


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


def test_what_is_no_exception_passes():
    class Callback:
        def on_log(self, *args):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Forgiving(Callback()).on_log()
