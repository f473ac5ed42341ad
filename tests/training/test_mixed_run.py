"""A run on a mix: chains judged as mathematics, a table by its text; figures by part, and resumed."""

import json
import shutil
from functools import partial

import pytest

from lenrl.cli import main
from lenrl.config import compose
from lenrl.dryrun.score import score
from lenrl.errors import BadInput
from lenrl.report import summary
from lenrl.run_process import run
from lenrl.training.prepare import prepare
from tests.training.runs import SMALL, lines_of, rows_of

OWN = [option for option in SMALL if not option.startswith("task.")]
FIGURES = {f"{figure}_{part}" for figure in ("accuracy", "tokens_mean") for part in ("sums", "texts")}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Chains of which the answer is written as a fraction of one: right as mathematics, wrong as text."""
    path = tmp_path_factory.mktemp("data") / "texts.jsonl"
    rows = [{"prompt": f"{n}+{n}", "answer": f"{2 * n % 10}/1"} for n in range(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def options(data, kind="exact", sums=1):
    own = "{use: chain, train: 40, dev: 4, test: 4, max_operands: 2}"
    table = f"{{name: table, path: {data}, split: all, dev: 4, test: 4, answers_unasked: true}}"
    parts = f"{{sums: {{task: {own}, weight: {sums}}}, texts: {{task: {table}, verifier: {{kind: {kind}}}}}}}"
    return [*OWN, "task=mix", f"task.parts={parts}"]


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """(recipe, folder) of a run of four steps, of which a second leg trained the last two."""
    folder = tmp_path_factory.mktemp("mixed")

    def leg(name):
        four = ["trainer.max_steps=4", "trainer.save_steps=2", "trainer.eval_steps=2"]
        recipe = compose("grpo", [*options(data), *four, f"output_dir={folder / name}"])
        return recipe, partial(run, recipe)

    whole, start = leg("whole")
    start()
    recipe, start = leg("legs")
    start()
    shutil.rmtree(folder / "legs" / "checkpoint-4")  # as if it had been killed before
    start()
    (folder / "legs" / "recipe.yaml").write_text(json.dumps(recipe.resolved()))  # JSON is YAML
    return recipe, folder / "legs", folder / "whole"


def without_times(lines):
    return [
        {name: value for name, value in line.items() if "time_" not in name and name != "tokens_per_s"}
        for line in lines
    ]


def test_every_step_has_figures_by_part_and_each_is_judged_by_its_kind(trained):
    _, folder, _ = trained
    lines = lines_of(folder)
    assert len(lines) == 4 and all(line.keys() >= FIGURES for line in lines)
    assert all(line["accuracy_texts"] in (0, None) for line in lines)  # 4/1 is no 4 as a text
    assert any(line["accuracy_sums"] for line in lines)
    sampled = [row["prompt_id"].partition(":")[0] for row in rows_of(folder)]
    assert {*sampled} == {"sums", "texts"}


def test_a_resumed_run_is_the_run_that_was_not_stopped(trained):
    _, legs, whole = trained
    assert (legs / "checkpoint-4").is_dir()
    assert without_times(lines_of(legs)) == without_times(lines_of(whole))
    assert [row["completion"] for row in rows_of(legs)] == [row["completion"] for row in rows_of(whole)]


def test_the_development_problems_have_figures_by_part(trained):
    _, folder, _ = trained
    lines = [json.loads(line) for line in (folder / "dev.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["eval_texts_accuracy"] == 0
        assert line["eval_accuracy"] == line["eval_sums_accuracy"] / 2  # as many of the one as of the other
        assert {"eval_sums_tokens", "eval_sums_aes", "eval_texts_truncated_share"} <= line.keys()


def test_summary_and_report_show_the_parts(trained, capsys):
    recipe, folder, _ = trained
    summary.finish(folder, recipe)
    entry = json.loads((folder / "eval.json").read_text())["models"][0]
    assert {name: part["prompts"] for name, part in entry["by_part"].items()} == {"sums": 4, "texts": 4}
    assert (
        entry["accuracy"]
        == (entry["by_part"]["sums"]["accuracy"] + entry["by_part"]["texts"]["accuracy"]) / 2
    )
    page = (folder / "report.html").read_text()
    assert "By part" in page and '<th scope="colgroup" colspan="2">texts, 4 problems</th>' in page


def test_lenrl_eval_takes_a_mix(data, tmp_path):
    parts = f"task.parts={{sums: {{task: {{use: chain, test: 3}}}}, texts: {{task: {data}}}}}"
    words = ["eval", "tiny", "task=mix", parts, "greedy=true", "max_new_tokens=48", "verifier.workers=1"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    [entry] = json.loads((tmp_path / "eval.json").read_text())["models"]
    assert {name: part["prompts"] for name, part in entry["by_part"].items()} == {"sums": 3, "texts": 10}


def test_a_recipe_holds_the_options_of_its_parts_and_its_identity_their_weights(data, tmp_path):
    recipe = compose("grpo", options(data))
    assert recipe.task["parts"]["sums"]["task"]["name"] == "chain"
    (tmp_path / "again.yaml").write_text(json.dumps(recipe.resolved()))
    assert compose(str(tmp_path / "again.yaml")).identity() == recipe.identity()
    assert compose("grpo", options(data, sums=2)).digest() != recipe.digest()
    assert (
        compose("grpo", [*options(data), "task.parts.sums.weight=2"]).digest()
        == compose("grpo", options(data, sums=2)).digest()
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["trainer.eval_steps=1", "trainer.metric_for_best_model=eval_word_accuracy"], "eval_texts_accuracy"),
        (["evals=[{task: chain, name: sums}]"], "evals: sums is a part of the mix too"),
        (["~task.parts.texts.task"], "task.parts.texts=.* names no task"),
    ],
)
def test_names_that_clash_or_are_not_there_are_refused(data, more, message):
    with pytest.raises(BadInput, match=message):
        prepare(compose("grpo", [*options(data), *more]))
    chosen = ["trainer.eval_steps=1", "trainer.metric_for_best_model=eval_texts_accuracy"]
    assert prepare(compose("grpo", [*options(data), *chosen])).evaluates


def test_logged_texts_of_a_mix_are_judged_by_their_parts(data):
    """The fraction is right as mathematics and wrong as text."""
    recipe = compose("grpo", options(data))
    row = {"text": "\\boxed{4/2}", "length": 9, "answer": "2"}
    rows = [{**row, "prompt": part, "part": part} for part in ("sums", "texts") for _ in range(2)]
    assert [found["correct"] for found in score(recipe, rows)] == [True, True, False, False]
    for part in (None, "sum"):
        with pytest.raises(
            BadInput, match=f"field 'part' of prompt 'texts' is {part!r}: give one of 'sums', 'texts'"
        ):
            score(recipe, [*rows[:2], {**rows[2], "part": part}, rows[3]])
    bare = [{name: value for name, value in row.items() if name != "part"} for row in rows]
    assert score(recipe, [{**row, "correct": True} for row in bare])
