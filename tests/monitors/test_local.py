"""The local log over a kill, a full disk and a second leg; secrets in it."""

import json
import logging
import time

import pytest
import torch

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.monitors.completion_table import completion_table
from lenrl.monitors.local import LocalMonitor
from lenrl.redact import Redacting, redacted
from lenrl.rollouts import RewardResult
from lenrl.strategies.base import PromptBudget
from lenrl.strategies.examples import groups
from lenrl.training.run_state import Clock


def lines(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_second_leg_has_every_step_once_after_a_kill_at_any_byte(tmp_path):
    whole = "".join(
        json.dumps({"step": step, "note": "é"}, ensure_ascii=False) + "\n" for step in range(1, 5)
    ).encode()
    for end in range(len(whole) + 1):
        (tmp_path / "metrics.jsonl").write_bytes(whole[:end])
        monitor = LocalMonitor(tmp_path, is_main=True)
        monitor.resume(2)
        there = lines(tmp_path / "metrics.jsonl") if (tmp_path / "metrics.jsonl").exists() else []
        assert there == [1, 2][: len(there)]
        monitor.step(3, {}, now=0.0)
        assert lines(tmp_path / "metrics.jsonl") == [*there, 3]


def write(monitor, step):
    rollouts = groups([[3, 4]], [[1, 1]], prompt_ids=("a",), max_length=8)
    texts = [("p", "c", "1", PromptBudget())] * 2
    what = (step, texts, rollouts, RewardResult(torch.ones(1, 2)), torch.zeros(1, 2))
    monitor.completions(step, lambda: completion_table(*what, kept=[0]))


def test_completions_past_the_checkpoint_and_half_written_ones_go(tmp_path):
    monitor = LocalMonitor(tmp_path, is_main=True)
    for step in range(3):
        write(monitor, step)
    (tmp_path / "completions" / "step000004-0.parquet.part").write_bytes(b"PAR1")
    LocalMonitor(tmp_path, is_main=True).resume(2)
    assert sorted(p.name for p in (tmp_path / "completions").iterdir()) == [
        "step000001-0.parquet",
        "step000002-0.parquet",
    ]


def test_totals_of_tokens_go_on_after_a_checkpoint_and_a_line_has_a_time(tmp_path):
    monitor = LocalMonitor(tmp_path, is_main=True)
    for step in (1, 2):
        monitor.begin_step()
        monitor.rollout({}, sampled_tokens=10)
        monitor.trained(7)
        monitor.step(step, {}, now=0.0)
    state = json.loads(json.dumps(monitor.state_dict()))
    again = LocalMonitor(tmp_path, is_main=True)
    again.load_state_dict(state)
    again.begin_step()  # a step of the same rollout
    again.trained(5)
    again.step(3, {}, now=0.0)
    found = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["tokens_generated_total"], line["tokens_trained_total"]) for line in found] == [
        (10, 7), (20, 14), (20, 19),
    ]  # fmt: skip
    assert all(abs(line["time_unix_s"] - time.time()) < 600 for line in found)
    assert "time_unix_s" not in again.last_metrics, "trackers have times of their own"


def test_a_folder_that_was_deleted_is_not_made_again(tmp_path, caplog):
    write(LocalMonitor(tmp_path / "run", is_main=True), 0)
    assert not (tmp_path / "run").exists() and "training goes on without this log" in caplog.text


def test_a_run_that_begins_anew_keeps_nothing_of_the_killed_one(tmp_path):
    monitor = LocalMonitor(tmp_path, is_main=True)
    monitor.evaluated(0, {"eval_accuracy": 0.5})
    monitor.step(1, {}, now=0.0)
    LocalMonitor(tmp_path, is_main=True).resume(-1)
    assert not (tmp_path / "metrics.jsonl").read_text() and not (tmp_path / "dev.jsonl").read_text()


def test_an_evaluation_that_is_due_again_stands_once(tmp_path):
    monitor = LocalMonitor(tmp_path, is_main=True)
    for step in (0, 3):
        monitor.evaluated(step, {})
    monitor.resume(3, evaluates=True)
    assert lines(tmp_path / "dev.jsonl") == [0]


def test_a_full_disk_is_said_once_and_leaves_no_half_line(tmp_path, caplog):
    """A limit on the file size stands for the full disk: both leave half a line behind."""
    import resource
    import signal

    monitor = LocalMonitor(tmp_path, is_main=True)
    monitor.step(1, {}, now=0.0)
    size = (tmp_path / "metrics.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
        monitor.step(2, {}, now=0.0)
        write(monitor, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    monitor.step(3, {}, now=0.0)
    assert lines(tmp_path / "metrics.jsonl") == [1, 3]
    assert not list((tmp_path / "completions").iterdir())
    said = [record for record in caplog.records if "training goes on without this log" in record.getMessage()]
    assert len(said) == 1


def test_secrets_are_in_no_message(monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "a1b2c3d4e5f6")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "falsefalse")
    text = "GET https://me:hunter2@host/x failed, key a1b2c3d4e5f6, falsefalse"
    assert redacted(text) == "GET https://***@host/x failed, key ***, falsefalse"
    try:
        raise ValueError("token a1b2c3d4e5f6")
    except ValueError as fault:
        record = logging.LogRecord(
            "x", 40, __file__, 1, "%s", (text,), (ValueError, fault, fault.__traceback__)
        )
    assert Redacting().filter(record)
    shown = logging.Formatter().format(record)
    assert "a1b2c3d4e5f6" not in shown and "hunter2" not in shown and "ValueError: token ***" in shown


@pytest.mark.parametrize(
    "value", ["https://me:pw@host/a.json", "https://token@host/a.json", "x-a1b2c3d4e5f6"]
)
def test_a_recipe_with_a_secret_is_refused_without_showing_it(monkeypatch, value):
    monkeypatch.setenv("HF_TOKEN", "a1b2c3d4e5f6")
    with pytest.raises(BadInput, match="model.path holds a secret") as fault:
        compose("grpo", [f"model.path='{value}'"])
    assert value not in str(fault.value)


def test_the_clock_adds_up_the_legs(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    first = Clock()
    now[0] = 107.0
    second = Clock()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    now[0] = 110.0
    assert second.seconds == pytest.approx(10.0)
