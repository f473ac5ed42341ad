"""The method cards in docs/methods say what the code does: options, defaults, bounds, needs and worked numbers."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from lenrl.config import Recipe
from lenrl.dryrun.score import score
from lenrl.strategies import registry
from lenrl.strategies.base import Strategy
from lenrl.strategies.method import Method
from tests.strategies.cases import NEUTRAL

ROOT = Path(__file__).parents[1]
CARDS = ROOT / "docs" / "methods"
NAMES = sorted({path.stem for path in (ROOT / "recipes").glob("*.yaml")} - {"base", "demo"})
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}  # pydantic's bounds, as a card writes them
GIVEN = (
    "target",
    "lo",
    "hi",
    "level",
    "mode",
    "effort",
    "truncated",
    "mean_logp",
    "logps",
    "step_numbers",
    "teacher_logps",
    "formatted",
)  # a row's inputs apart from its verdict
RESULTS = {"kept": "length", "verdict": "correct"} | {
    name: name for name in ("budget", "reward", "advantage")
}


@cache
def recipe(name: str) -> dict[str, Any]:
    """The recipe's file as it is written; Hydra would take a second for all of them."""
    plain = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())
    assert plain["defaults"] == ["base", "_self_"], "this test reads a recipe's own file only"
    return plain


@cache
def card(name: str) -> str:
    return (CARDS / f"{name}.md").read_text()


def chosen(name: str) -> dict[str, Strategy]:
    """The strategies of the slots that are not neutral."""
    specs = {slot: recipe(name).get(slot, {"name": neutral}) for slot, neutral in NEUTRAL.items()}
    return {slot: registry.build(slot, spec) for slot, spec in specs.items() if spec["name"] != NEUTRAL[slot]}


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no section {title!r}"
    return found[1]


def table(text: str) -> list[dict[str, str]]:
    """The rows of the first Markdown table, by column."""
    found = re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert found is not None, "no table"
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in found[0].splitlines()]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def read(cell: str) -> Any:
    """`0.1`, `null`, `true`, `[4000, 3000]` or words, as a recipe would write them."""
    return yaml.safe_load(cell.strip("`"))


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_every_recipe_has_a_card_and_every_card_a_recipe() -> None:
    assert {path.stem for path in CARDS.glob("*.md")} == {*NAMES, "README"}


@pytest.mark.parametrize("name", NAMES)
def test_options_are_those_of_the_strategies(name: str) -> None:
    rows = {row["option"].strip("`"): row for row in table(section(card(name), "Options"))}
    fields = {
        f"{slot}.{option}": (field, getattr(rule, option), recipe(name)[slot].get(option))
        for slot, rule in chosen(name).items()
        for option, field in type(rule).model_fields.items()
    }
    assert set(rows) == set(fields)
    for option, (field, value, set_to) in fields.items():
        row, default = rows[option], plain(field.get_default())
        assert read(row["default"]) == default, option
        assert type(read(row["default"])) is type(default), option
        for bound in field.metadata:
            for key, sign in SIGNS.items():
                if hasattr(bound, key):
                    assert f"{sign} {getattr(bound, key)}" in row["unit, bounds"], option
        for choice in getattr(field.annotation, "__args__", ()):
            if isinstance(choice, str):
                assert f"`{choice}`" in row["unit, bounds"], f"{option} can be {choice}"
        if set_to is not None and plain(set_to) != default:
            assert f"recipe: {value}" in row["meaning"], f"the recipe sets {option} to {value}"


@pytest.mark.parametrize("name", NAMES)
def test_needs_and_properties_are_what_the_strategies_declare(name: str) -> None:
    needs = section(card(name), "Needs")
    assert f"lenrl train {name}\n" in card(name)
    for key, value in recipe(name).get("trainer", {}).items():
        assert f"trainer.{key}: {str(value).lower() if isinstance(value, bool) else value}" in needs
    assert any(rule.state_dict() for rule in chosen(name).values()) == ("State: " in needs)
    for rule in chosen(name).values():
        assert all(f"`{column}`" in needs for column in rule.reads_columns)
        assert all(entry.field in needs for entry in rule.forbids)
    declared = {word for rule in chosen(name).values() for word in rule.declares}
    said = set(
        re.findall(r"^- Declares `(\w+)`", section(card(name), "Properties and edge cases"), re.MULTILINE)
    )
    assert said == declared
    assert ("Breaks none of the [common properties]" in card(name)) == (not declared)


@pytest.mark.parametrize("name", NAMES)
def test_the_worked_check_is_what_lenrl_score_prints(name: str, tmp_path: Path) -> None:
    text = section(card(name), "Worked check")
    command = re.search(rf"^lenrl score {name} rows\.jsonl ?(.*)$", text, re.MULTILINE)
    assert command is not None
    plain_slots = {slot: dict(recipe(name).get(slot, {"name": neutral})) for slot, neutral in NEUTRAL.items()}
    options: dict[str, Any] = {"step": 0}
    for word in command[1].replace("--step ", "--step=").replace("--save-state ", "--save-state=").split():
        key, value = word.split("=")
        if key == "trainer.max_completion_length":
            options["max_length"] = int(value)
        elif key == "--step":
            options["step"] = int(value)
        elif key != "--save-state":
            slot, option = key.split(".")
            plain_slots[slot][option] = yaml.safe_load(value)
    method = Method(**cast(Any, {slot: registry.build(slot, spec) for slot, spec in plain_slots.items()}))
    stand_in = SimpleNamespace(method=method, trainer={}, guard=SimpleNamespace(nonfinite="fail"))
    rows = [row for row in table(text) for _ in range(int(row.get("times", 1)))]
    lines = [
        {"prompt": "q", "length": int(row["tokens"])}
        | ({"correct": row["correct"] == "1"} if "correct" in row else {})
        | {key: read(row[key]) for key in GIVEN if key in row}
        for row in rows
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = score(cast(Recipe, stand_in), tmp_path / "rows.jsonl", **options)
    assert "advantage" in rows[0]
    for row, scored in zip(rows, found, strict=True):
        for column in RESULTS.keys() & row:
            value, decimals = scored[RESULTS[column]], len(row[column].partition(".")[2])
            near = pytest.approx(float(value), rel=0, abs=0.6 * 10 ** -max(4, decimals))
            assert float(row[column]) == near, f"{column} of {row}"


def test_the_index_links_every_card_and_says_what_it_fills() -> None:
    rows = {
        re.findall(r"\((\w+)\.md\)", row["recipe"])[0]: row
        for row in table((CARDS / "README.md").read_text())
    }
    assert set(rows) == set(NAMES)
    for name, row in rows.items():
        rules = chosen(name)
        slots = [f"{slot}: {rule.name}" for slot, rule in rules.items()]
        assert row["slots"] == (", ".join(f"`{words}`" for words in slots) or "all neutral")
        unlabelled = "reward" in rules and not any(rule.reads_verdicts for rule in rules.values())
        assert row["labels"] == ("no" if unlabelled else "yes")
        assert all(url in card(name) for url in re.findall(r"https://[^)]+", row["source"]))


@pytest.mark.parametrize("name", ["README", *NAMES])
def test_links_and_markers(name: str) -> None:
    text = card(name)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]+)#?([^)]*)\)", text):
        assert (CARDS / target).exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", (CARDS / target).read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    if name == "README":
        return
    measured = section(text, "Measured here")
    assert measured.count("<!-- measured:begin -->") == measured.count("<!-- measured:end -->") == 1
    assert measured.index("<!-- measured:begin -->") < measured.index("<!-- measured:end -->")
