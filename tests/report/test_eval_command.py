"""The command that a finished run names measures the run's own problems, as they were decoded and verified."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from lenrl.cli.eval import divide
from lenrl.config import compose
from lenrl.report.summary import eval_command
from lenrl.tasks import build, digest


def recipe_of(task, **changes):
    options = {
        "dtype": None,
        "revision": None,
        "tokenizer": None,
        "chat_template": None,
        "think_prefilled": None,
    }
    model = SimpleNamespace(
        **{"path": "tiny", **options, "trust_remote_code": False} | changes.pop("model", {})
    )
    trainer = {"max_completion_length": 700, "temperature": 0.6, "top_p": 0.95} | changes.pop("trainer", {})
    return SimpleNamespace(
        task=task,
        model=model,
        trainer=trainer,
        seed=changes.pop("seed", 0),
        verifier=changes.pop("verifier", {}),
    )


def settings_of(recipe, task):
    words = shlex.split(eval_command(Path("runs/x y"), recipe, task))
    assert words[:4] == ["lenrl", "eval", recipe.model.path, "runs/x y/model"]
    assert words[-2:] == ["--out", "runs/x y/eval8"]
    models, task, settings = divide(words[2:-2])
    assert models == words[2:4]
    return task, settings


@pytest.mark.parametrize(
    "task",
    [
        {"name": "chain", "test": 7, "operands": [3, 4], "train": 16},
        {"name": "chain", "test": 7, "max_operands": 3, "seed": 2},
        {"name": "chain", "test": 5, "template": 'Say, "what" is\n\\{prompt}, {hint} = [x: 1]?'},
        {"name": "chain", "test": 5, "system_prompt": "true"},
        {"name": "chain", "test": 5, "system_prompt": "Null"},
        {"name": "chain", "test": 5, "system_prompt": "né"},
        {"name": "chain", "test": 5, "system_prompt": 'ends in \\\\"quoted\\\\\\" \\\\'},
        {
            "name": "gym",
            "generator": "chain_sum",
            "test": 4,
            "config": {"max_terms": 3, "allow_negation": True},
        },
    ],
)
def test_the_named_command_asks_the_same_problems(task):
    built = build(task)
    named, settings = settings_of(recipe_of(task), built)
    again = build(named)
    assert digest(again, again.problems("test")) == digest(built, built.problems("test"))
    assert settings.samples == 8
    assert (settings.max_new_tokens, settings.temperature, settings.top_p) == (700, 0.6, 0.95)


def test_rows_of_a_file_stay_in_their_split(tmp_path):
    path = tmp_path / "rows, all.jsonl"
    path.write_text("".join(f'{{"prompt": "{n}", "answer": "{n}"}}\n' for n in range(60)))
    task = {"name": "table", "path": str(path)}
    built = build(task)
    again = build(settings_of(recipe_of(task), built)[0])
    assert [p.id for p in again.problems("test")] == [p.id for p in built.problems("test")]
    assert len(built.problems("test")) < 60  # the training rows are not asked


def test_settings_of_verifier_model_and_seed_are_named():
    recipe = recipe_of(
        {},
        seed=5,
        verifier={"kind": "exact", "timeout_s": 3.5},
        model={"path": "org/model", "dtype": "bfloat16", "trust_remote_code": True, "revision": "v1.0"},
    )
    _, settings = settings_of(recipe, build("chain"))
    assert settings.verifier == {"kind": "exact", "timeout_s": 3.5}
    named = {"dtype": "bfloat16", "revision": "v1.0", "trust_remote_code": True, "seed": 5}
    assert settings.model_dump(include=set(named)) == named


@pytest.mark.parametrize("name", ["demo", "drpo", "curriculum"])
def test_the_command_of_a_recipe_reads_back(name):
    recipe = compose(name, ["task.operands=[2,3]"])
    task = build(recipe.task)
    again = build(settings_of(recipe, task)[0])
    assert digest(again, again.problems("test", 9)) == digest(task, task.problems("test", 9))
