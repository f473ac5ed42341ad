"""A trained model asked with the words of its own budget, beside without."""

import shutil

import pytest
import yaml

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.hinted import ways_of
from lenrl.evaluation.settings import EvalSettings
from lenrl.generation.pretrained import TINY
from lenrl.report.compare import Compared
from lenrl.report.sources import read
from lenrl.tasks.problem import Problem
from lenrl.training.prepare import prepare

ASKED = [Problem("a", "1+1?", "2"), Problem("b", "2+2?", "4", columns={"target": 7})]
TRAINER = {"max_completion_length": 64, "max_steps": 10}


def run_of(folder, budget):
    """A run's folder: its recipe's budget, and the embedded model for a trained one."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"budget": budget, "trainer": TRAINER}))
    shutil.copytree(TINY, folder / "model")
    return str(folder)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"name": "levels"}, {"short": "Think briefly.", "long": "Think at length."}),
        ({"name": "modes", "short": "Brief!"}, {"short": "Brief!"}),
        ({"name": "draw", "low": 5, "high": 5}, {"words": "Think for 5 tokens."}),
        ({"name": "interval", "lo": 1, "hi": 2}, {"words": "Answer with 1 to 2 tokens."}),
    ],
)
def test_a_run_s_budget_says_which_words(tmp_path, budget, words):
    ways = ways_of(run_of(tmp_path / "run", budget), ASKED)
    for name, text in words.items():
        assert [row.hint for row in ways[name]] == [text] * 2
    assert list(ways) == {"levels": ["short", "moderate", "long"], "modes": ["short", "long"]}.get(
        budget["name"], ["words"]
    )


def test_a_column_that_the_budget_reads_must_be_there(tmp_path):
    run = run_of(tmp_path / "run", {"name": "column"})
    assert [row.hint is None for row in ways_of(run, ASKED[1:])["words"]] == [False]
    with pytest.raises(BadInput, match="prompt 'a': field 'target' is None"):
        ways_of(run, ASKED)


@pytest.mark.parametrize("budget", [{"name": "none"}, {"name": "palu"}, {"name": "prefill"}])
def test_a_budget_without_words_has_no_ways(tmp_path, budget):
    assert ways_of(run_of(tmp_path / "run", budget), ASKED) == {}


def test_a_model_is_measured_with_and_without_its_words(tmp_path):
    run = run_of(tmp_path / "run", {"name": "modes"})
    settings = EvalSettings(hints=True, max_new_tokens=24, verifier={"kind": "exact"})
    task = {"name": "chain", "test": 2}
    result = evaluate(["tiny", run], task, settings, out_dir=tmp_path / "out")
    entries = {(entry["model"], entry["control"]): entry for entry in result["models"]}
    assert [control for _, control in entries] == ["none", "none", "hint@short", "hint@long"]
    free, long = entries[run, "none"], entries[run, "hint@long"]
    assert free["prompt_tokens_mean"] == entries["tiny", "none"]["prompt_tokens_mean"]
    assert long["prompt_tokens_mean"] > free["prompt_tokens_mean"]
    assert any("hint@long: prompts have +" in warning for warning in long["warnings"])
    places = {entry.control for entry in Compared(read([tmp_path / "out"])).entries}
    assert {"hint@short", "hint@long"} <= places
    asked_first = evaluate([run, "tiny"], task, settings, out_dir=tmp_path / "other")
    assert [pair["over_controls"] for pair in asked_first["pairs"]] == [None] * len(asked_first["pairs"])
    assert not Compared(read([tmp_path / "other"])).leads, "words of one's own are no training-free controls"
    with pytest.raises(BadInput, match="none of tiny was trained with words"):
        evaluate(["tiny"], task, settings)


def test_a_recipe_whose_budget_says_nothing_refuses_hints():
    assert prepare(compose("tldr", ["eval.hints=true"])).recipe.eval.hints
    with pytest.raises(BadInput, match="eval.hints=true: budget 'none' puts no words"):
        prepare(compose("grpo", ["eval.hints=true"]))
