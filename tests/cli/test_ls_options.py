"""`lenrl ls WHAT NAME`: options of everything that a recipe names, from the classes; the schema of a recipe."""

import dataclasses
import json
import re

import jsonschema
import pytest
import yaml

from lenrl.cli import main
from lenrl.cli.ls import listing
from lenrl.cli.option_list import written
from lenrl.cli.section_list import SECTIONS, section_options
from lenrl.config import RECIPES, SLOTS, compose, recipe_files
from lenrl.launch.command import FIELDS
from lenrl.strategies import registry
from lenrl.tasks import TASKS


@pytest.fixture(autouse=True)
def wide_enough(monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")


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
    assert re.search(r"max_operands .* digits in a chain", shown(capsys, "task", "chain"))
    assert "CPU seconds" in shown(capsys, "verifier", "math")


def test_files_and_fields_of_the_trainer(capsys):
    assert shown(capsys, "launch", "zero2") == (RECIPES / "launch/zero2.yaml").read_text()
    assert set(listing(what="model")["model"]) >= {"tiny", "own", "qwen3_8b"}
    fields = shown(capsys, "trainer")
    assert all(f"  {name}  " in fields for name in compose("drpo").trainer)
    rate = shown(capsys, "trainer", "learning_rate")
    assert rate.split("\n")[1].split()[1:6] == ["float", "|", "null,", ">", "0"], "the default is base.yaml's"
    assert "2e-6 for 1.5B parameters" in rate and "TRL: The initial learning rate" in rate


def test_what_is_shown_of_one_thing_can_be_read_by_a_program(capsys):
    found = {}
    for words in (["reward", "kimi"], ["trainer", "learning_rate"], ["task", "math500"], ["guard"]):
        assert main(["ls", *words, "--json"]) == 0
        found[words[-1]] = json.loads(capsys.readouterr().out)
    assert {"name": "weight", "kind": "float, >= 0", "default": "1.0"}.items() <= found["kimi"]["options"][
        0
    ].items()
    assert [option["name"] for option in found["learning_rate"]["options"]] == ["learning_rate"]
    assert "nonfinite" in [option["name"] for option in found["guard"]["options"]]
    assert "MATH-500" in found["math500"]["text"] and found["math500"]["options"] == []


@pytest.mark.parametrize("section", SECTIONS)
def test_sections_have_types_from_the_classes_and_defaults_and_words_from_base(capsys, section):
    base = yaml.safe_load((RECIPES / "base.yaml").read_text())
    text = shown(capsys, section)
    values = base if section == "recipe" else base.get(section)
    for option in section_options(section):
        assert f"  {option.name}  " in text and option.words, option
        if section == "launch":
            continue
        if isinstance(values, dict) and option.name in values:
            assert option.default == written(values[option.name])
        else:
            assert section in ("evals", "reward_functions"), option
    if section == "guard":
        assert "float, >= 0, <= 1" in text and re.search(r"hang_timeout_s .* seconds without progress", text)


def test_fields_of_a_launch_are_accelerates():
    from accelerate.commands.config.config_args import ClusterConfig

    known = {field.name for field in dataclasses.fields(ClusterConfig)}
    left_out = {name for name in known if name.startswith(("tpu_", "command"))} | {"megatron_lm_config"}
    assert set(FIELDS) == known - left_out


@pytest.mark.parametrize(
    "words", [(), ("task", "gym"), ("verifier", "math"), ("trainer",), ("model",), ("launch",), ("guard",)]
)
def test_80_columns_break_no_name(capsys, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "80")
    narrow = shown(capsys, *words).splitlines()
    monkeypatch.setenv("COLUMNS", "400")
    names = re.findall(r"^  (\S+)", shown(capsys, *words), re.MULTILINE)
    broken = [n for n in names if not any(line.startswith(f"  {n}") for line in narrow)]
    assert names and not broken
    assert max(map(len, narrow)) <= 80 or words in (("task", "gym"),), "docstrings are not wrapped"


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
