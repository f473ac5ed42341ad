"""The model card of a run: what was trained, by which method, with which settings, and what was measured."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData

from lenrl import __version__
from lenrl.config import plugin_files
from lenrl.files import read_json
from lenrl.measures.format import Evaluation, change, points, share, tokens, with_interval
from lenrl.report.tables import before_after, decoding_name

NEUTRAL = ("none", "correctness", "trl", "uniform")  # strategies that are no part of a method's name


def model_card(run_dir: Path) -> ModelCard:
    """The card of a finished run's folder; nothing that a model wrote is in it.

    Raises:
        OSError: the folder has no `recipe.yaml`.
    """
    recipe = yaml.safe_load((run_dir / "recipe.yaml").read_text())
    plugin_files.load_of_runs([run_dir], {})
    evaluation = read_json(run_dir / "eval.json", {"models": [], "pairs": []})
    trained = read_json(run_dir / "training.json", {})
    base = str(recipe["model"]["path"])
    data = ModelCardData(
        library_name="peft" if recipe["model"]["peft"] else "transformers",
        base_model=base if re.fullmatch(r"[\w.-]+/[\w.-]+", base) else None,
        tags=["lenrl", "trl", "grpo", str(recipe["recipe"]), "reinforcement-learning", "efficient-reasoning"],
    )
    parts = [
        f"# {Path(base).name}, trained with {recipe['recipe']}",
        f"Reinforcement learning with verifiable rewards for shorter reasoning: recipe `{recipe['recipe']}` of lenrl "
        f"{__version__}, {trained.get('steps', recipe['trainer']['max_steps'])} optimizer steps from `{base}`.",
        "## Method",
        *_method(recipe),
        "## Measured",
        _measured(evaluation),
        "## Settings",
        "```yaml\n" + yaml.safe_dump(_shown(recipe), sort_keys=False, allow_unicode=True) + "```",
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n")


def _method(recipe: Mapping[str, Any]) -> list[str]:
    """The strategies that make the method, and where they come from."""
    from lenrl.config.recipe import SLOTS
    from lenrl.strategies import registry

    lines = []
    for name, digest in (recipe.get("plugins") or {}).items():
        lines.append(f"- plug-in `{name}` of its author's own, hash `{digest}`")
    for name, chosen in (recipe.get("reward_functions") or {}).items():
        adds = (
            "gives the verdict" if chosen["verdict"] else f"is added to the reward, times {chosen['weight']}"
        )
        lines.append(f"- reward function `{name}`: {adds}")
    for slot in SLOTS:
        spec = recipe[slot]
        if spec["name"] in NEUTRAL:
            continue
        text = " ".join((type(registry.build(slot, spec)).__doc__ or "").split())
        source = re.search(r"Source: (.*?\d{4}\.\d{4,5})", text)
        cited = f" ({source[1]})" if source else ""
        options = ", ".join(f"{key} {json.dumps(value)}" for key, value in spec.items() if key != "name")
        lines.append(f"- {slot}: `{spec['name']}`{cited}{': ' + options if options else ''}")
    return ["\n".join(lines) or "Plain GRPO on a 0/1 reward."]


def _measured(evaluation: Evaluation) -> str:
    pairs = before_after(evaluation["models"])
    if not pairs:
        return "Nothing: the run had no test problems."
    first = pairs[0][0]
    lines = [
        f"{first['prompts']} {first['split']} problems of `{first['task']}`; 95 % intervals over problems.",
        "",
        "| decoding | | accuracy | tokens | truncated |",
        "| --- | --- | --- | --- | --- |",
    ]
    compared = {pair["decoding"]: pair for pair in evaluation["pairs"]}
    for both in pairs:
        for name, entry in zip(("before", "after"), both, strict=True):
            accuracy = with_interval(entry["accuracy"], entry["accuracy_ci95"], share)
            length = with_interval(entry["tokens_mean"], entry["tokens_mean_ci95"], tokens)
            cells = (decoding_name(entry), name, accuracy, length, share(entry["truncated_share"]))
            lines.append(f"| {' | '.join(cells)} |")
        if pair := compared.get(both[0]["decoding"]):
            gain = with_interval(pair["accuracy_diff"], pair["accuracy_diff_ci95"], points)
            ratio = with_interval(pair["tokens_ratio"], pair["tokens_ratio_ci95"], change)
            lines.append(f"| {both[0]['decoding']} | difference, points and share | {gain} | {ratio} | |")
    return "\n".join(lines)


def _shown(recipe: Mapping[str, object]) -> dict[str, object]:
    """Settings that shape the result, without folders and names of this machine."""
    from lenrl.config.recipe import UNHASHED

    return {key: value for key, value in recipe.items() if key not in UNHASHED}
