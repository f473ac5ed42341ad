"""The rendered prompt is to be seen, and a form of answers that it does not ask for is warned of."""

import json
import shlex

import pyarrow.parquet as pq
import pytest

from lenrl.cli import main
from lenrl.config import compose
from lenrl.config.overrides import parse
from lenrl.errors import validated
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.settings import EvalSettings
from lenrl.generation.pretrained import load_tokenizer_info
from lenrl.report import reader
from lenrl.report.sources import read
from lenrl.tasks import build
from lenrl.training.audited_data import audited
from lenrl.training.prepare import prepare
from lenrl.training.rendered import unasked
from lenrl.verify.settings import VerifierSettings
from tests.training.runs import SMALL, rows_of, small_run

CHECKED = [*SMALL, "task.train=64", "task.dev=0", "task.test=0"]


def sums(tmp_path, *options):
    path = tmp_path / "sums.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"{i}+3", "answer": (i + 3) % 10}) + "\n" for i in range(7))
    )
    counts = ["task.split=all", "task.train=null", "task.dev=0", "task.test=0"]
    return [*SMALL, "task=table", f"task.path='{path}'", *counts, *options]


def warnings_of(overrides):
    recipe = compose("grpo", overrides)
    checked_run = prepare(recipe)
    info = load_tokenizer_info("tiny", recipe.model)
    return [w for audit in audited(checked_run, info.tokenizer, None, None)[1] for w in audit.warnings]


def test_check_shows_one_prompt_with_its_hint_and_special_tokens(capsys):
    assert (
        main(["check", "lcpo_exact", *CHECKED, "budget.low=10", "task.system_prompt='Be \x1b brief.'"]) == 0
    )
    out = capsys.readouterr().out
    shown = out[out.index("prompt, as the model reads it") :]
    assert "Be ␛ brief." in shown and "\x1b" not in shown
    tokenizer = load_tokenizer_info("tiny", compose("grpo").model).tokenizer
    assert any(token in shown for token in tokenizer.all_special_tokens)
    assert "tokens" in shown  # the budget's hint


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ([], True),
        (["task.template='{prompt} Answer in \\boxed{}.'"], False),
        (["task.system_prompt='Put it into \\boxed{}.'"], False),
        (["task.answers_unasked=true"], False),
        (["verifier.format=answer_tag", "task.template='{prompt} Answer in \\boxed{}.'"], True),
        (["verifier.format=answer_tag", "task.template='{prompt} Write <answer>7</answer>.'"], False),
    ],
)
def test_a_form_that_no_prompt_asks_for_is_warned_of(tmp_path, options, warned):
    found = warnings_of(sums(tmp_path, *options))
    assert any("nothing in the prompts asks for" in warning for warning in found) == warned


def test_the_task_of_the_embedded_model_and_other_verifiers_are_not_warned_of():
    assert unasked(build("chain"), VerifierSettings(), ["3+4"]) == []
    table = build({"name": "table", "path": "a.jsonl"})
    (warning,) = unasked(table, VerifierSettings(), ["3+4"])
    (assignment,) = parse(shlex.split(warning.partition("e.g. ")[2].partition(";")[0]))
    assert assignment.value == r"{prompt} Put the final answer into \boxed{}."
    (warning,) = unasked(table, VerifierSettings(), [r"3+4 Answer in \\boxed{}."])
    assert "two backslashes" in warning
    assert unasked(table, VerifierSettings.model_construct(kind="mine", format="boxed"), ["3+4"]) == []


def test_completions_hold_the_prompt_as_the_tokenizer_gives_it(tmp_path):
    trainer, verifiers = small_run(
        "lcpo_exact", tmp_path, "task.dev=0", "trainer.max_steps=1", "budget.low=10"
    )
    prompts = trainer.rollout.problem_set.prompts
    with verifiers:
        trainer.train()
    rows = rows_of(tmp_path)
    assert rows
    for row in rows:
        problem = trainer.rollout.problem_set.problems[row["prompt_id"]]
        assert row["rendered"].startswith(prompts.text(problem)[:3]) and row["prompt"] in row["rendered"]
        assert str(row["target"]) in row["rendered"] and row["rendered"] != prompts.text(problem)


def test_evaluations_hold_it_and_the_page_shows_it(tmp_path):
    settings = validated(EvalSettings, {"max_new_tokens": 8, "greedy": True})
    task = build({"name": "chain", "test": 3, "system_prompt": "Be brief."})
    evaluate(["tiny", "tiny"], task, settings, out_dir=tmp_path)
    rows = pq.read_table(tmp_path / "completions-0-greedy.parquet").to_pylist()
    assert all("Be brief." in row["rendered"] and row["prompt"] in row["rendered"] for row in rows)
    [first, *_] = reader.side_by_side(read([tmp_path]))["problems"]
    assert "Be brief." in first["prompt"] and "Be brief." not in first["title"]
