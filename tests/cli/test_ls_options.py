"""`lenrl ls WHAT NAME`: options of everything that a recipe names, from the classes; the schema of a recipe."""

import json

import jsonschema
import pytest
import yaml

from lenrl.cli import main
from lenrl.cli.ls import listing
from lenrl.config import RECIPES, SLOTS, compose, recipe_files
from lenrl.strategies import registry
from lenrl.tasks import TASKS


def shown(capsys, *words):
    assert main(["ls", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("slot", SLOTS)
def test_every_option_of_every_strategy_is_shown(capsys, slot):
    for name, kind in registry.built_in(slot).items():
        text = shown(capsys, slot, name)
        assert (kind.__doc__ or "").split("\n")[0] in text
        assert all(f"  {option}  " in text for option in kind.model_fields)


def test_tasks_and_verifiers_with_units_and_bounds(capsys):
    for name, kind in TASKS.items():
        text = shown(capsys, "task", name)
        assert all(f"  {option}  " in text for option in kind.model_fields if option != "name")
    table = shown(capsys, "task", "table")
    assert "stream_rows" in table and "int | null, >= 1" in table and "of a hub data set" in table
    assert "CPU seconds" in shown(capsys, "verifier", "math")


def test_files_and_fields_of_the_trainer(capsys):
    assert shown(capsys, "launch", "zero2") == (RECIPES / "launch/zero2.yaml").read_text()
    assert set(listing(what="model")["model"]) >= {"tiny", "own", "qwen3_8b"}
    assert "learning rate" in shown(capsys, "trainer", "learning_rate")
    fields = shown(capsys, "trainer")
    assert all(f"  {name}  " in fields for name in compose("drpo").trainer)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["reward", "kimmi"], "Did you mean kimi?"),
        (["trainer", "learning_rat"], "learning_rate"),
        (["bogus", "x"], "launch"),
    ],
)
def test_what_is_not_there(capsys, words, hint):
    assert main(["ls", *words]) == 2
    assert hint in capsys.readouterr().err


def test_the_schema_knows_every_section_and_option(capsys):
    schema = json.loads(shown(capsys, "--schema"))
    assert set(schema["properties"]) >= set(compose("grpo").resolved())
    rewards = {o["properties"]["name"]["const"]: o for o in schema["properties"]["reward"]["anyOf"][1:]}
    assert rewards["kimi"]["properties"]["weight"]["minimum"] == 0
    assert schema["properties"]["trainer"]["properties"]["temperature"]["exclusiveMinimum"] == 0
    check = jsonschema.Draft202012Validator(schema)
    for name, path in recipe_files().items():
        assert not list(check.iter_errors(yaml.safe_load(path.read_text()))), name
    wrong = {"trainer": {"temperature": 0}, "reward": {"name": "kimi", "wieght": 1}, "gaurd": {}}
    assert {error.path[0] if error.path else "" for error in check.iter_errors(wrong)} == {
        "trainer",
        "reward",
        "",
    }
