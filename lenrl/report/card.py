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
from lenrl.measures.format import Evaluation, change, figure, points, share, tokens
from lenrl.recipe_paths import DATA
from lenrl.redact import visible
from lenrl.report.tables import before_after, decoding_name, without_control

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
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
    base, name = _place(str(recipe["model"]["path"]), True), str(recipe["recipe"])
    data = ModelCardData(
        library_name="peft" if recipe["model"]["peft"] else "transformers",
        base_model=base if HUB_NAME.fullmatch(base) else None,
        tags=["lenrl", "trl", "grpo", name, "reinforcement-learning", "efficient-reasoning"],
    )
    parts = [
        f"# {_text(Path(base).name)}, trained with {_text(name)}",
        f"Reinforcement learning with verifiable rewards for shorter reasoning: recipe {_code(name)} of lenrl "
        f"{__version__}, {trained.get('steps', recipe['trainer']['max_steps'])} optimizer steps from {_code(base)}.",
        "## Method",
        *_method(recipe),
        "## Measured",
        _measured(evaluation),
        "## Settings",
        _block(yaml.safe_dump(_shown(recipe), sort_keys=False, allow_unicode=True)),
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n")


def _method(recipe: Mapping[str, Any]) -> list[str]:
    """The strategies that make the method, and where they come from."""
    from lenrl.config.recipe import SLOTS
    from lenrl.strategies import registry

    lines = []
    for name, digest in (recipe.get("plugins") or {}).items():
        lines.append(f"- plug-in {_code(name)} of its author's own, hash {_code(digest)}")
    for name, chosen in (recipe.get("reward_functions") or {}).items():
        adds = (
            "gives the verdict" if chosen["verdict"] else f"is added to the reward, times {chosen['weight']}"
        )
        lines.append(f"- reward function {_code(name)}: {adds}")
    for slot in SLOTS:
        spec = recipe[slot]
        if spec["name"] in NEUTRAL:
            continue
        text = " ".join((type(registry.build(slot, spec)).__doc__ or "").split())
        source = re.search(r"Source: (.*?\d{4}\.\d{4,5})", text)
        cited = f" ({source[1]})" if source else ""
        options = ", ".join(f"{key} {json.dumps(value)}" for key, value in spec.items() if key != "name")
        lines.append(f"- {slot}: {_code(spec['name'])}{cited}{': ' + _text(options) if options else ''}")
    return ["\n".join(lines) or "Plain GRPO on a 0/1 reward."]


def _measured(evaluation: Evaluation) -> str:
    pairs = before_after(evaluation["models"])
    if not pairs:
        return "Nothing: the run had no test problems."
    first = pairs[0][0]
    task = _place(str(first["task"]), Path(str(first["task"])).suffix in DATA)
    lines = [
        f"{first['prompts']} {_text(first['split'])} problems of {_code(task)}; 95 % intervals over problems.",
        "",
        "| decoding | | accuracy | tokens | truncated |",
        "| --- | --- | --- | --- | --- |",
    ]
    compared = {pair["decoding"]: pair for pair in without_control(evaluation["pairs"])}
    for both in pairs:
        for name, entry in zip(("before", "after"), both, strict=True):
            accuracy, length = figure(entry, "accuracy", share), figure(entry, "tokens_mean", tokens)
            cells = (decoding_name(entry), name, accuracy, length, share(entry["truncated_share"]))
            lines.append(f"| {' | '.join(cells)} |")
        if pair := compared.get(both[0]["decoding"]):
            gain, ratio = figure(pair, "accuracy_diff", points), figure(pair, "tokens_ratio", change)
            lines.append(f"| {both[0]['decoding']} | difference, points and share | {gain} | {ratio} | |")
    return "\n".join(lines)


def _shown(recipe: Mapping[str, object]) -> dict[str, object]:
    """Settings that shape the result, without folders and names of this machine."""
    from lenrl.config.recipe import UNHASHED

    return {key: _without_folders(value) for key, value in recipe.items() if key not in UNHASHED}


def _without_folders(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _without_folders(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_folders(inner, key) for inner in value]
    return _place(value, key in ("path", "tokenizer")) if isinstance(value, str) else value


def _place(text: str, path: bool = False) -> str:
    """A local path by its last part alone, any other text as it is; `path`: what is no name on the hub is one."""
    local = text.startswith(("/", "~/", "./", "../")) or path and not HUB_NAME.fullmatch(text)
    return Path(text).name if local and "\n" not in text else text


def _text(text: object) -> str:
    """Words on one line that Markdown and HTML leave alone."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~&$])", r"\\\1", " ".join(visible(str(text)).split()))


def _code(text: object) -> str:
    """Words as code within a line."""
    words = " ".join(visible(str(text)).split()).replace("`", "'").replace("|", "¦")
    return f"`{words}`"


def _block(text: str) -> str:
    """YAML as a block, whose fence is longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}yaml\n{visible(text)}{fence}"
