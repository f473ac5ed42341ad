"""`evals`: data other than the task's, measured while a model trains and after it."""

import json

import pytest

from lenrl.cli import main
from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.evaluation import other_data
from lenrl.report import summary
from lenrl.run_process import run
from lenrl.training.prepare import prepare
from lenrl.training.run_state import DevState
from tests.training.runs import SMALL

ROWS = [{"prompt": "3+4", "answer": 7}, {"prompt": "3*4", "answer": 2}, {"prompt": "3*4+1", "answer": 3}]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture(scope="module")
def evaluated(data, tmp_path_factory):
    """(recipe, folder) of a run of two steps with two entries and no development problems."""
    run_dir = tmp_path_factory.mktemp("run")
    own = f"{{task: {data}, samples: 2, max_new_tokens: 20}}"
    evals = f"evals=[{own},{{task: {{use: chain, test: 9}}, count: 5, name: easy, greedy: true}}]"
    off = [
        "task.dev=0",
        "task.test=0",
        "trainer.save_steps=1",
        "trainer.eval_steps=1",
        f"output_dir={run_dir}",
    ]
    recipe = compose("grpo", [*SMALL, *off, evals, "trainer.metric_for_best_model=eval_easy_tokens"])
    run(recipe)
    (run_dir / "recipe.yaml").write_text(json.dumps(recipe.resolved()))  # JSON is YAML
    return recipe, run_dir


def test_a_recipe_without_evals_is_the_run_that_it_was():
    assert compose("grpo").identity() == compose("grpo", ["evals=[]"]).identity()
    assert "evals" not in compose("grpo").identity()
    assert compose("grpo", ["evals=[aime24]"]).digest() != compose("grpo").digest()


def test_entries_are_written_out_and_compose_again(data, tmp_path):
    recipe = compose("grpo", [f"evals=[aime24,{{task: math500, samples: 8, name: m}},'{data}']"])
    assert [entry.name for entry in recipe.evals] == ["aime24", "m", "sums"]
    assert recipe.evals[1].task["path"] == "HuggingFaceH4/MATH-500" and recipe.evals[1].samples == 8
    (tmp_path / "again.yaml").write_text(json.dumps(recipe.resolved()))
    assert compose(str(tmp_path / "again.yaml")).identity() == recipe.identity()
    settings = other_data.settings_of(recipe.evals[1], recipe)
    assert (settings.samples, settings.max_new_tokens, settings.temperature) == (8, 180, 1.0)
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "own.yaml").write_text("{name: chain, test: 3}")
    (tmp_path / "mine.yaml").write_text("defaults: [base, _self_]\nevals: [own]\n")
    assert compose(str(tmp_path / "mine.yaml")).evals[0].task == {"name": "chain", "test": 3}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evals=[chain,chain]"], "chain stands twice"),
        (["evals=[{samples: 3}]"], "names no task"),
        (["evals=[{task: chain, sample: 3}]"], "evals.0.sample=3.*Did you mean evals.0.samples"),
        (["evals=[{task: chain, greedy: true, samples: 3}]"], "one completion a problem"),
        (["evals=[{task: chain, name: a/b}]"], "name='a/b'"),
        (["evals=[chian]"], "evals, chian: task=chian is unknown"),
        (["evals=[{task: chain, verifier: {kind: maths}}]"], "verifier.kind=maths is unknown"),
        (["trainer.metric_for_best_model=eval_acc"], "Did you mean trainer.metric_for_best_model=eval_a"),
        (["trainer.metric_for_best_model=eval_aes", "trainer.eval_steps=0"], "there is no evaluation"),
    ],
)
def test_bad_entries_are_refused_by_name(overrides, message):
    with pytest.raises(BadInput, match=message):
        prepare(compose("grpo", overrides))


def test_both_are_measured_at_each_evaluation_and_one_chooses_the_best(evaluated):
    _, run_dir = evaluated
    lines = [json.loads(line) for line in (run_dir / "dev.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    names = {
        f"eval_{n}_{f}" for n in ("sums", "easy") for f in ("accuracy", "tokens", "truncated_share", "aes")
    }
    assert all(set(line) == {"step", *names} for line in lines)
    assert all(line["eval_sums_tokens"] <= 20 < line["eval_easy_tokens"] for line in lines)
    assert lines[0]["eval_easy_aes"] == 0
    training = json.loads((run_dir / "training.json").read_text())
    best = min(line["eval_easy_tokens"] for line in lines[1:])
    assert (training["best_metric"], training["best_value"]) == ("eval_easy_tokens", best)


def test_the_summary_the_report_and_lenrl_eval_measure_them(evaluated, data, tmp_path, capsys):
    recipe, run_dir = evaluated
    found = summary.finish(run_dir, recipe)["evals"]
    assert set(found) == {"sums", "easy"}
    assert (
        list(found["easy"]["after"])[:1] == ["greedy"] and found["sums"]["before"]["sampled"]["tokens"] <= 20
    )
    assert "On other data: easy" in (run_dir / "report.html").read_text()
    capsys.readouterr()
    assert main(["eval", str(run_dir), "samples=1", "--out", str(tmp_path / "out")]) == 0
    measured = {n: json.loads((tmp_path / "out" / n / "eval.json").read_text())["models"][0] for n in found}
    assert measured["easy"]["prompts"] == 5 and measured["sums"]["samples"] == 1
    # What is measured in training is what is measured after it: greedy figures are equal.
    last = json.loads((run_dir / "dev.jsonl").read_text().splitlines()[-1])
    assert last["eval_easy_tokens"] == pytest.approx(measured["easy"]["tokens_mean"])
    assert main(["eval", str(run_dir), "task=chain", "task.test=3", "--out", str(tmp_path / "named")]) == 0
    assert (tmp_path / "named" / "eval.json").is_file()


def test_shares_of_the_processes_are_the_whole_and_equally_long(evaluated, data):
    """Two processes, played one after the other, measure what one does."""
    from dataclasses import replace

    from lenrl.training.build import build
    from lenrl.training.grpo_config import grpo_config

    recipe, run_dir = evaluated
    checked_run = prepare(recipe)
    trainer, verifiers = build(checked_run, grpo_config(checked_run, run_dir))
    with verifiers:
        whole = trainer.dev.by_name["sums"]
        halves = [replace(whole, share=slice(rank, None, 2)) for rank in (0, 1)]
        rows = [half._rows(trainer.model, 0) for half in halves]
        assert [len(part) for part in rows] == [4, 2]  # three problems, two samples each
        assert sorted(map(str, rows[0] + rows[1])) == sorted(map(str, whole._rows(trainer.model, 0)))


def test_each_evaluation_has_its_own_baseline():
    state = DevState()
    first = {"a_accuracy": 0.5, "a_tokens": 10.0}
    assert state.aes(first) == {"a_aes": 0.0}
    assert state.aes({"a_accuracy": 0.5, "a_tokens": 5.0, "b_accuracy": 1.0, "b_tokens": 3.0}) == {
        "a_aes": 0.5,
        "b_aes": 0.0,
    }
    assert json.loads(json.dumps(state.baseline)) == first | {"b_accuracy": 1.0, "b_tokens": 3.0}


def test_lenrl_check_counts_their_problems_and_warns_of_training_prompts(data, capsys):
    small = [
        *SMALL,
        "task=table",
        f"task.path='{data}'",
        "task.split=all",
        "task.train=null",
        "task.dev=0",
        "task.test=0",
    ]
    small += ["trainer.num_generations=8", f"evals=['{data}']", "trainer.eval_steps=1"]
    assert main(["check", "grpo", *small]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "sums problems 3, samples 1, tokens at most 144, in training yes" in out
    assert "3 of 3 train prompts are also prompts of an evaluation" in out


def test_wrong_columns_are_refused_before_a_process_starts(data, tmp_path, monkeypatch, capsys):
    from lenrl.launch import supervise

    monkeypatch.setattr(supervise, "supervise", lambda *a, **k: pytest.fail("a process was started"))
    out = tmp_path / "run"
    words = [
        *SMALL,
        "task=table",
        f"task.path='{data}'",
        "task.prompt=text",
        "task.answer=gold",
        f"output_dir={out}",
    ]
    assert main(["train", "grpo", *words]) == 2
    message = capsys.readouterr().err
    assert "no column 'text' for the prompt" in message and "no column 'gold' for the answer" in message
    assert not out.exists()
