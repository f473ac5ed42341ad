"""recipes/paper/: the papers' settings, each with its source, and the arithmetic of their batches."""

import math
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

from lenrl.cli import main
from lenrl.cli.ls import listing
from lenrl.config import RECIPES, SLOTS, Recipe, compose, group_choices, recipe_files
from lenrl.training.prepare import prepare

PAPER = sorted(name for name in recipe_files() if name.startswith("paper/"))
SOURCE = re.compile(r"#\s+(paper|script|verl|OpenRLHF|README|ours|\d(\.\d)?)\b")

# Prompts a rollout, completions a prompt, updates a rollout.
BATCHES = {
    "drpo_r1_distill_qwen_1_5b": (128, 8, 4),
    "drpo_r1_distill_qwen_7b": (128, 8, 4),
    "dot_r1_distill_qwen_1_5b": (128, 32, 4),
    "dot_r1_distill_qwen_7b": (128, 32, 4),
    "palu_r1_distill_qwen_1_5b": (512, 8, 16),
    "grpo_lambda_qwen3_8b": (128, 16, 1),
    "curriculum_qwen2_5_7b": (32, 8, 1),
    "surrogate_qwen2_5_math_7b": (128, 8, 1),
    "lcpo_exact_deepscaler_1_5b": (128, 16, 2),
    "dler_r1_distill_qwen_1_5b": (256, 16, 4),
    "laser_r1_distill_qwen_1_5b": (128, 8, 2),
    "laser_d_r1_distill_qwen_1_5b": (128, 8, 2),
    "thinkprune_r1_distill_qwen_1_5b": (128, 16, 1),
    "efficient_r1_distill_qwen_1_5b": (32, 8, 2),
    "efficient_r1_distill_qwen_7b": (32, 8, 2),
    "shorter_better_r1_distill_qwen_7b": (128, 8, 8),
    "smart_thinker_r1_distill_qwen_1_5b": (64, 8, 4),
    "lead_dynamic_r1_distill_qwen_1_5b": (128, 8, 8),
    "sas_deepscaler_1_5b": (128, 8, 2),
    "short_rl_r1_distill_qwen_1_5b": (128, 8, 2),
    "leash_qwen3_4b_thinking": (64, 8, 2),
    "acoer_qwen3_1_7b": (4, 16, 1),
}

# Sets that the paper names, of which recipes/task/ has a file, by method.
EVALS = {
    "drpo": ["gsm8k"],
    "dot": ["aime24", "math500"],
    "laser": ["aime24"],
    "laser_d": ["aime24"],
    "thinkprune": ["aime24"],
    "efficient": ["gsm8k", "aime24"],
    "surrogate": ["aime24", "math500", "amc23"],
}


@cache
def composed(name: str) -> Recipe:
    return compose(name)


def test_every_core_method_has_the_papers_own_settings():
    assert {Path(name).name for name in PAPER} == set(BATCHES)
    for method in ("curriculum", "surrogate", "drpo", "grpo_lambda", "dot", "palu"):
        slots = yaml.safe_load((RECIPES / f"{method}.yaml").read_text())
        ours = [composed(name) for name in PAPER if Path(name).name.startswith(f"{method}_")]
        assert ours
        for slot in set(SLOTS) & set(slots):
            assert {getattr(recipe, slot).name for recipe in ours} == {slots[slot]["name"]}


@pytest.mark.parametrize("name", PAPER)
def test_a_paper_recipe_passes_every_check_that_needs_no_model(name, tmp_path):
    """A local row stands for the data: methods without labels look whether there are any."""
    (tmp_path / "rows.jsonl").write_text('{"problem": "1+1?", "question": "1+1?", "answer": "2"}\n')
    local = [f"task.path='{tmp_path / 'rows.jsonl'}'"]
    checked_run = prepare(compose(name, local) if "surrogate" in name else composed(name))
    layout = checked_run.layout
    assert layout.processes == 8 == int(checked_run.recipe.launch["num_processes"])
    assert (layout.prompts_per_rollout, layout.num_generations, layout.updates_per_rollout) == BATCHES[
        Path(name).name
    ]
    assert layout.accumulation * layout.updates_per_rollout == layout.micro_steps_per_rollout
    assert checked_run.run_info.max_steps % layout.updates_per_rollout == 0
    assert checked_run.run_info.rollout_rows == layout.prompts_per_rollout * layout.num_generations
    assert checked_run.grpo["save_steps"] % layout.updates_per_rollout == 0
    assert not checked_run.evaluates


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_sets_are_asked_in_the_words_of_the_training(name):
    recipe = composed(name)
    assert [entry.name for entry in recipe.evals] == EVALS.get(
        Path(name).name.split("_r1_")[0].split("_qwen")[0], []
    )
    for entry in recipe.evals:
        shipped = yaml.safe_load((RECIPES / "task" / f"{entry.name}.yaml").read_text())
        assert all(entry.task[key] == value for key, value in shipped.items() if key != "template")
        for words in ("template", "system_prompt"):
            assert entry.task.get(words) == recipe.task.get(words)
        assert (entry.max_new_tokens or math.inf) > recipe.trainer[
            "max_completion_length"
        ]  # room for the base


@pytest.mark.parametrize("name", ["drpo_r1_distill_qwen_1_5b", "dot_r1_distill_qwen_7b"])
def test_a_paper_recipe_by_its_path_or_copied_is_the_same_run(name, tmp_path, capsys):
    assert main(["cp", f"paper/{name}", str(tmp_path)]) == 0
    for path in (RECIPES / "paper" / f"{name}.yaml", tmp_path / f"{name}.yaml"):
        other = compose(str(path))
        assert other.identity() == composed(f"paper/{name}").identity()
        assert other.launch == composed(f"paper/{name}").launch


@pytest.mark.parametrize("name", PAPER)
def test_a_paper_recipe_names_shipped_models_data_and_launches(name):
    recipe, defaults = composed(name), _defaults(recipe_files()[name])
    for group in ("model", "task", "launch"):
        assert defaults[group] in group_choices(group)
        chosen = yaml.safe_load((RECIPES / group / f"{defaults[group]}.yaml").read_text())
        section = recipe.model.model_dump() if group == "model" else getattr(recipe, group)
        assert all(section[key] == value for key, value in chosen.items() if key not in ("template",)), group
    assert recipe.model.dtype == "bfloat16" and recipe.model.path != "tiny"


@pytest.mark.parametrize("path", sorted((RECIPES / "paper").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_value_of_a_paper_recipe_has_a_source(path):
    section = None
    checked = 0
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if re.match(r"[a-z_]+:", line):
            section = line.split(":")[0]
            assert section not in SLOTS or line == f"{section}:", f"line {number}: one value a line"
        elif section in (*SLOTS, "evals", "trainer") and line.strip() not in ("", "- task:"):
            assert SOURCE.search(line), f"line {number} has no source: {line}"
            checked += 1
    assert checked


def test_a_value_without_a_source_would_be_found():
    assert SOURCE.search("  lam: 0.1   # script: tau2") and SOURCE.search("  start: 256  # 4.1: tokens")
    assert not SOURCE.search("  lam: 0.1") and not SOURCE.search("  lam: 0.1   # a good value")


def test_ls_shows_them_by_what_they_are_and_hides_what_they_begin_with():
    found = listing(what="recipes")["recipes"]
    assert set(PAPER) <= set(found) and not any("_verl" in name for name in found)
    assert all("arXiv" in found[name] and "@package" not in found[name] for name in PAPER)
    assert list(found)[-len(PAPER) :] == PAPER  # after the others


def test_an_installed_package_holds_them():
    settings = tomllib.loads((RECIPES.parent / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert settings["targets"]["wheel"]["force-include"]["recipes"] == "lenrl/recipes"  # where paths.py looks
    assert "/recipes" in settings["targets"]["sdist"]["include"]


def _defaults(path: Path) -> dict[str, str]:
    """The group choices of a recipe's defaults list, its parents' first."""
    found: dict[str, str] = {}
    for entry in yaml.safe_load(path.read_text())["defaults"]:
        if isinstance(entry, dict):
            found |= {key.removeprefix("override ").strip("/"): value for key, value in entry.items()}
        elif entry.startswith("/paper/"):
            found = _defaults(RECIPES / f"{entry.strip('/')}.yaml") | found
    return found
