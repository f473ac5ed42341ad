"""The end of a sweep: who has won, by how much, and who is not told apart from the winner."""

import io
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from torch import nn

from lenrl import measures
from lenrl.config import compose
from lenrl.measures.paired import accuracy_difference
from lenrl.monitors.local import LocalMonitor
from lenrl.sweeps import ledger
from lenrl.sweeps.outcomes import conclude
from lenrl.sweeps.progress import Progress
from lenrl.sweeps.winner import winner
from lenrl.tasks import Problem
from lenrl.training.evaluation import EvaluationInTraining
from tests.sweeps.fakes import plan

AXES = ("reward.alpha=0.1,0.2,0.4", "seed=0,1")


def trial(folder, number, right, length, split="dev"):
    """A finished trial that is right on so many of 100 problems."""
    run = folder / ledger.run_name(number)
    run.mkdir(parents=True, exist_ok=True)
    prompts = [f"q{n}" for n in range(100)]
    order = random.Random(number).sample(range(100), 100)
    correct = [n < right for n in order]
    if split == "dev":
        rows = {"step": 9, "prompt_id": prompts, "correct": correct, "tokens": [length] * 100}
        (run / "dev_problems.json").write_text(json.dumps(rows))
    else:
        table = pa.table({"prompt_id": prompts, "verdict": correct, "tokens": [length] * 100})
        pq.write_table(table, run / "c.parquet")
        (run / "eval.json").write_text(
            json.dumps({"models": [{"model": "m", "completions": "../c.parquet"}]})
        )
    overrides = [f"reward.alpha={(0.1, 0.2, 0.4)[number // 2]}", f"seed={number % 2}"]
    figures = {"accuracy": right / 100, "tokens": float(length), "measured_on": split}
    ledger.append(folder, number, ledger.FINISHED, overrides, **figures)


def swept(folder, *trials, split="dev"):
    for number, (right, length) in enumerate(trials):
        trial(folder, number, right, length, split)
    return winner(folder, list(ledger.read(folder).values()))


@pytest.mark.parametrize("split", ["dev", "test"])
def test_seeds_count_together_and_what_is_close_is_not_told_apart(tmp_path, split):
    found = swept(tmp_path, (90, 50), (92, 50), (89, 30), (91, 30), (40, 9), (44, 9), split=split)
    assert found is not None
    said = "\n".join(found.lines())
    assert said.startswith("Best: reward.alpha=0.1 (trials 0, 1): accuracy 91.0% [")
    assert f"on 100 {split} problems" in said and "not told apart from reward.alpha=0.2 (+1.0 [" in said
    assert "Shortest of those: reward.alpha=0.2 (trials 2, 3)" in said and "alpha=0.4" not in said
    result = found.as_json()
    assert result["not_told_apart"] == ["reward.alpha=0.2"] and result["shortest"] == "reward.alpha=0.2"
    assert result["behind"]["reward.alpha=0.4"]["ci95"][0] > 0.2


def test_a_clear_winner_is_said_to_be_one(tmp_path):
    found = swept(tmp_path, (95, 50), (96, 50), (60, 30), (61, 30))
    assert found is not None
    assert "told apart from all others: +35.0 [" in found.lines()[1] and len(found.lines()) == 2


@pytest.mark.parametrize("split", ["dev", "test"])
def test_tellings_of_a_problem_count_as_one(tmp_path, split):
    """100 rows, of 50 problems that are told twice."""
    rows = [(50, 40), (51, 40), (60, 30), (61, 30)]
    [apart, together] = [tmp_path / "apart", tmp_path / "together"]
    swept(apart, *rows, split=split)
    swept(together, *rows, split=split)
    bases = [f"q{n // 2}" for n in range(100)]
    for run in together.glob("trial-*"):
        if split == "dev":
            path = run / "dev_problems.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "base": bases}))
        else:
            table = pq.read_table(run / "c.parquet")
            pq.write_table(table.append_column("base", [bases]), run / "c.parquet")
    found = [winner(each, list(ledger.read(each).values())) for each in (apart, together)]
    tables = [[s.answers.by_base.correct_PS for s in one.settings] for one in found if one]
    assert [len(correct_PS) for correct_PS in tables[0] + tables[1]] == [100, 100, 50, 50]
    for one, (first, second) in zip(found, tables, strict=True):
        assert one and one.ranking.behind[0] == accuracy_difference(first, second, np.random.default_rng(0))
        assert one.as_json()["accuracy_ci95"] == measures.accuracy(second).ci95


def test_a_development_evaluation_notes_which_problems_are_told_again(tmp_path):
    told = [
        Problem(f"{b}:{r}", "?", "7", columns={"base": b, "round": r}) for b in range(3) for r in range(2)
    ]
    rows = [(True, 5, False, "", problem.id) for problem in told]
    record = LocalMonitor(tmp_path, is_main=True).dev_problems
    unused: dict = dict.fromkeys(
        ("prompts", "method", "verifier", "decoding", "run_info", "info", "batches", "trainer_state")
    )
    evaluation = EvaluationInTraining(
        told, **unused, share=slice(None), alone=lambda name, work: rows, record=record
    )
    assert evaluation(nn.Identity(), 4, list)["accuracy"] == 1
    found = json.loads((tmp_path / "dev_problems.json").read_text())
    assert found["base"] == ["0:0", "0:0", "1:0", "1:0", "2:0", "2:0"]


HOSTILE = [
    b"", b"[]", b"\xff", b'{"prompt_id": 3}', b'{"prompt_id": ["q0"], "correct": ["x"], "tokens": [1]}',
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE)
def test_trials_that_do_not_tell_their_problems_have_no_winner(tmp_path, content):
    swept(tmp_path, (90, 50), (92, 50), (80, 30))
    (tmp_path / ledger.run_name(1) / "dev_problems.json").write_bytes(content)
    assert winner(tmp_path, list(ledger.read(tmp_path).values())) is None
    assert winner(tmp_path, []) is None


def test_the_end_repeats_settings_and_name(tmp_path):
    folder = tmp_path / "alphas"
    of = plan(folder, *AXES, "reward=efficient", "trainer.temperature=0.7", "task.test=7")
    of.settle()
    swept(folder, (90, 50), (92, 50), (89, 30), (91, 30), (40, 9), (44, 9))
    said = io.StringIO()
    conclude(of, Console(file=said, width=200))
    lines = said.getvalue().splitlines()
    [best, short] = [line.split() for line in lines if line.startswith("  lenrl train")]
    assert {"reward.alpha=0.1", "seed=1", "trainer.temperature=0.7", "name=alphas-trial-001"} <= set(best)
    assert "name=alphas-trial-003" in short
    compose(best[2], best[3:])  # can be typed
    [measure] = [line for line in lines if line.startswith("  lenrl eval")]
    assert (
        "temperature=0.7" in measure
        and "task.test=7" in measure
        and str(folder / "trial-001/model") in measure
    )
    assert json.loads((folder / "sweep.json").read_text())["winner"]["trials"] == [0, 1]
    assert f"output_dir={folder}" in of.command


def test_the_table_breaks_no_name_in_80_columns(tmp_path):
    long = ("trainer.max_completion_length=100,200", "trainer.learning_rate=1e-6,2e-6", "seed=0,1")
    of = plan(tmp_path, *long, "task.test=7")
    of.settle()
    said = io.StringIO()
    conclude(of, Console(file=said, width=80))
    table = said.getvalue().split("8 of 8 trials are not done")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert table[1].split()[:4] == ["trial", "max_completion_length", "learning_rate", "seed"]


def test_without_a_terminal_a_line_now_and_then_tells_steps_and_the_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("lenrl.sweeps.progress.time.monotonic", lambda: now[0])
    said = io.StringIO()
    progress = Progress(Console(file=said, width=200), total=4, steps=20, done=1)
    for step in (0, 5):
        progress.show({2: (["seed=2"], {"step": step, "accuracy": 0.5, "tokens_mean": 33.25})})
        assert said.getvalue() == ""
        now[0] += 50
    progress.show({2: (["seed=2"], {"step": 10, "accuracy": 0.5, "tokens_mean": 33.25})})
    lines = said.getvalue().splitlines()
    assert lines[0] == "trial 2: step 10/20, accuracy 50.0%, 33.2 tokens, 100 s left"
    assert lines[1].startswith("1 of 4 trials done, ") and lines[1].endswith("left")
    progress.show({2: (["seed=2"], {"step": 11})})
    assert said.getvalue().splitlines() == lines
