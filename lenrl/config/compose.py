"""From a recipe's name and overrides to a checked `Recipe`.

Hydra reads the files and their defaults lists (`layers`). Two things go beyond it: a slot or a group that is chosen
anew drops the options of what it replaces, and an override may set an option that no file spells out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl import plugins
from lenrl.config import overrides as grammar
from lenrl.config import pins, plugin_files
from lenrl.config.layers import load, read, readable
from lenrl.config.other_tasks import spelled_out
from lenrl.config.recipe import SLOTS, Recipe
from lenrl.config.rollout_size import in_trls_terms
from lenrl.config.validation import checked, refuse_resolvers, refuse_secrets
from lenrl.errors import BadInput, did_you_mean
from lenrl.recipe_paths import DATA, GROUPS, RECIPES, find, group_choices

if TYPE_CHECKING:
    from omegaconf import DictConfig

IN_MEMORY = "rows"  # the task of a script's data, `lenrl.tasks.in_memory`
EMBEDDED, OWN = "tiny", "own"  # files of recipes/model/: of the embedded model, and for one of the user's own
TRUST = ("model", "trust_remote_code")


def compose(recipe: str, overrides: Sequence[str] = (), plugins: Sequence[Path] = ()) -> Recipe:
    """Compose, resolve and check a recipe.

    Args:
        recipe: a shipped recipe's name, a YAML file's path (a run's `recipe.yaml` too), or a run's folder.
        overrides: `key=value` lines in Hydra's grammar, in any order.
        plugins: Python files with plug-ins of the user's own. A run's recipe brings its copies of them along.

    Raises:
        BadInput: whatever is wrong, with the key, the value found, the rule and the remedy.
    """
    pins.check()
    given = plugin_files.load(plugins)
    name, path = find(recipe)
    assignments = _one_a_key(grammar.parse(overrides))
    with readable(f"recipe {recipe!r}"):
        primary = read(path)
        if primary and not {"defaults", "recipe"} & set(
            primary
        ):  # a run's own has the latter, and is complete
            primary["defaults"] = ["base", "_self_"]
        cfg, layers, files = load(primary, path.parent)
        model = _model_file(cfg, files, assignments, path.parent)
        if model is not None:
            cfg, layers, _ = load(primary, path.parent, model)
        _choose_groups(cfg, assignments, path.parent)
        for slot in SLOTS:
            if slot in cfg or any(a.keys[0] == slot for a in assignments):
                cfg[slot] = grammar.choose(layers[slot], slot, assignments)
        _apply(cfg, [a for a in assignments if a.keys[0] not in SLOTS and not a.chooses_group])
        plain = _plain(cfg)
        spelled_out(plain, path.parent)
    if isinstance(plain.get("task"), dict) and plain["task"].get("name") == IN_MEMORY:
        raise BadInput(
            f"{path} describes the run of a Python script, whose data and functions are in the script alone. Continue "
            "it there: trainer.train(resume_from_checkpoint=True)."
        )
    _size_rollouts(plain)
    _refuse_trust_of_files(plain, assignments)
    plain.setdefault("recipe", name)
    plain["plugins"] = plugin_files.complete(plain.get("plugins"), given, path.parent)
    return checked(plain)


def group(name: str, choice: str) -> dict[str, Any]:
    """Content of a shipped file of a group, for verbs without a recipe: `group("task", "aime24")`.

    Raises:
        BadInput: there is no such file.
    """
    from omegaconf import OmegaConf

    choices = group_choices(name)
    if choice not in choices:
        raise BadInput(f"{name}={choice!r}: the choices are {', '.join(choices)}.")
    content: Any = OmegaConf.to_container(read(RECIPES / name / f"{choice}.yaml"))
    return content


def _one_a_key(assignments: Sequence[grammar.Assignment]) -> list[grammar.Assignment]:
    """`model={path: org/model}` as the lines `model.path=org/model` that it stands for."""
    spread = []
    for a in assignments:
        values = a.value if a.keys == ("model",) and isinstance(a.value, dict) else None
        spread += (
            [a]
            if values is None
            else [replace(a, keys=("model", str(k)), value=v) for k, v in values.items()]
        )
    return spread


def _model_file(
    cfg: DictConfig, files: Sequence[str], assignments: Sequence[grammar.Assignment], folder: Path
) -> str | None:
    """A file of recipes/model/ whose settings fit the model better than the one that the defaults lists name.

    That which the line chooses; and where only a path replaces the embedded model's, the file with that path, or that
    for a model of the user's own.
    """
    chosen = next((a.value for a in assignments if a.chooses_group and a.keys[0] == "model"), None)
    if chosen is not None:
        known = chosen in group_choices("model", folder) and any(path.startswith("model/") for path in files)
        return chosen if known else None  # a file without a defaults list has no choice to make anew
    if f"model/{EMBEDDED}" not in files or not hasattr(
        cfg["model"], "get"
    ):  # what is no section is refused later
        return None
    path = next((a.value for a in assignments if a.keys == ("model", "path")), cfg["model"].get("path"))
    if path == EMBEDDED:
        return None
    files_of_models = sorted((RECIPES / "model").glob("*.yaml"))
    return next((file.stem for file in files_of_models if read(file).get("path") == path), OWN)


def _refuse_trust_of_files(plain: dict[str, Any], assignments: Sequence[grammar.Assignment]) -> None:
    """A file of others may not say that a model's own code is run; who starts the program says that.

    Raises:
        BadInput: `model.trust_remote_code` is true, and no override sets it.
    """
    model = plain.get("model")
    trusts = isinstance(model, dict) and model.get("trust_remote_code")
    if trusts and not any(a.sets(TRUST) for a in assignments):
        raise BadInput(
            "model.trust_remote_code=true in a file: it runs Python code that comes with the model, so only the "
            "command line may say so. If you have read that code, add model.trust_remote_code=true to the command."
        )


def _choose_groups(cfg: DictConfig, assignments: Sequence[grammar.Assignment], folder: Path) -> None:
    """`launch=cpu2`: the section becomes what `base` with that choice gives; the recipe's own lines go."""
    chosen = {a.keys[0]: a for a in assignments if a.chooses_group}
    if "task" in chosen and Path(chosen["task"].value).suffix in DATA:
        cfg["task"] = {"name": "table", "path": chosen.pop("task").value}
    elif "task" in chosen and chosen["task"].value in plugins.of_files("task", {}):
        cfg["task"] = {"name": chosen.pop("task").value}
    for group, a in chosen.items():
        choices = group_choices(group, folder)
        if a.value not in choices:
            hint = did_you_mean(a.value, choices, f"{group}={{}}")
            extra = f" A model of your own: model.path={a.value}." if group == "model" else ""
            raise BadInput(f"{group}={a.value!r}: the choices are {', '.join(choices)}.{hint}{extra}")
    if chosen:
        defaults = ["base", *({f"override {group}": a.value} for group, a in chosen.items()), "_self_"]
        fresh, _, _ = load({"defaults": defaults}, folder)
        for group in chosen:
            cfg[group] = fresh[group]


def _apply(cfg: DictConfig, assignments: Sequence[grammar.Assignment]) -> None:
    """Set or remove values; whole sections before single keys, so that the order on the line is free."""
    from omegaconf import OmegaConf

    missing = object()
    for a in sorted(assignments, key=lambda a: len(a.keys)):
        key = ".".join(a.keys)
        if a.delete:
            *above, last = a.keys
            parent: Any = OmegaConf.select(cfg, ".".join(above)) if above else cfg
            if not OmegaConf.is_dict(parent) or last not in parent:
                raise BadInput(f"override {a.line!r}: there is no key {key!r} to remove.")
            a.require_found(parent[last])
            del parent[last]
        elif a.keys[0] in GROUPS and len(a.keys) == 1:
            cfg[key] = a.value
        else:
            for depth in range(1, len(a.keys)):
                above = ".".join(a.keys[:depth])
                value = OmegaConf.select(cfg, above, default=missing)
                if value is not missing and value is not None and not OmegaConf.is_config(value):
                    raise BadInput(f"override {a.line!r}: {above} is {value!r}, which has no keys.")
            OmegaConf.update(cfg, key, a.value, merge=True, force_add=True)


def _size_rollouts(plain: dict[str, Any]) -> None:
    """In place, `trainer` in TRL's terms; what is no section is left for the recipe's own checks."""
    trainer, update, launch, model = (plain.get(name) for name in ("trainer", "update", "launch", "model"))
    if (
        isinstance(trainer, dict)
        and isinstance(update, dict)
        and isinstance(launch, dict)
        and isinstance(model, dict)
    ):
        plain["trainer"] = in_trls_terms(
            trainer, update.get("per_rollout", 1), launch.get("num_processes", 1), model.get("micro_batch")
        )


def _plain(cfg: DictConfig) -> dict[str, Any]:
    from omegaconf import OmegaConf

    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    refuse_resolvers(raw)
    plain: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    refuse_secrets(plain)
    return plain
