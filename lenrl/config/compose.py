"""From a recipe's name and overrides to a checked `Recipe`.

Hydra reads the files and their defaults lists. Three things go beyond it: a slot or a group that is chosen
anew drops the options of what it replaces, an override may set an option that no file spells out, and
whatever Hydra or OmegaConf raises becomes one message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl import plugins
from lenrl.config import overrides as grammar
from lenrl.config import pins, plugin_files
from lenrl.config.other_tasks import spelled_out
from lenrl.config.recipe import SLOTS, Recipe
from lenrl.config.rollout_size import in_trls_terms
from lenrl.config.validation import checked, refuse_resolvers, refuse_secrets
from lenrl.config.yaml_files import checked_text
from lenrl.errors import BadInput, did_you_mean
from lenrl.recipe_paths import DATA, GROUPS, RECIPES, find, group_choices

if TYPE_CHECKING:
    from omegaconf import DictConfig

IN_MEMORY = "rows"  # the task of a script's data, `lenrl.tasks.in_memory`
EMBEDDED, OWN = "tiny", "own"  # files of recipes/model/: of the embedded model, and for one of the user's own
TRUST = ("model", "trust_remote_code")
_PRIMARY = "__recipe__"  # the name under which Hydra's store holds the file; cannot collide with a file's


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
    with _readable(f"recipe {recipe!r}"):
        primary = _read(path)
        if primary and not {"defaults", "recipe"} & set(
            primary
        ):  # a run's own has the latter, and is complete
            primary["defaults"] = ["base", "_self_"]
        cfg, layers, files = _load(primary, path.parent)
        model = _model_file(cfg, files, assignments, path.parent)
        if model is not None:
            cfg, layers, _ = _load(primary, path.parent, model)
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
    content: Any = OmegaConf.to_container(_read(RECIPES / name / f"{choice}.yaml"))
    return content


def _read(path: Path) -> DictConfig:
    from omegaconf import DictConfig, OmegaConf

    checked_text(path)
    cfg = OmegaConf.load(path)
    if not isinstance(cfg, DictConfig):
        raise BadInput(f"{path} holds a list; a recipe is a mapping of sections, see recipes/base.yaml.")
    return cfg


def _load(
    primary: DictConfig | dict[str, Any], folder: Path, model: str | None = None
) -> tuple[DictConfig, dict[str, list[Any]], list[str]]:
    """The composed files, for each slot what every file says of it in the order of the defaults list, and the files.

    `model` is a file of recipes/model/ in place of the one that the defaults lists name.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode
    from omegaconf import OmegaConf, open_dict

    primary = OmegaConf.create(primary)
    refuse_resolvers(OmegaConf.to_container(primary, resolve=False))  # Hydra resolves them in a defaults list
    if "hydra" in primary:
        raise BadInput("key 'hydra': a recipe configures an experiment, not Hydra. Remove the section.")
    primary["hydra"] = {"searchpath": [f"file://{folder}"]}
    _check_defaults(primary, folder)
    if OmegaConf.is_list(primary.get("defaults")) and "_self_" not in primary["defaults"]:
        primary["defaults"].append("_self_")  # what the file says itself comes last
    ConfigStore.instance().store(name=_PRIMARY, node=primary, provider="recipe")
    GlobalHydra.instance().clear()
    chosen = [] if model is None else [f"model={model}"]
    with initialize_config_dir(str(RECIPES), job_name="lenrl", version_base="1.3"):
        loader: Any = GlobalHydra.instance().config_loader()
        # Private in Hydra 1.3: the files by name, with the folder of the recipe on the search path. Hydra would make
        # them anew for each of the following; held, every file is read once.
        _, files = held = loader._parse_overrides_and_create_caching_repo(_PRIMARY, chosen)
        loader._parse_overrides_and_create_caching_repo = lambda *_: held
        cfg = hydra_compose(_PRIMARY, overrides=chosen)
        layered = loader.compute_defaults_list(_PRIMARY, chosen, RunMode.RUN).defaults
        named = [(d.package or "", d.config_path) for d in layered]
        contents = [(p, files.load_config(path).config) for p, path in named if not p.startswith("hydra")]
    layers: dict[str, list[Any]] = {slot: [] for slot in SLOTS}
    for package, content in contents:
        for slot in SLOTS:
            layer = content if package == slot else content.get(slot) if package == "" else None
            if layer is not None:
                layers[slot].append(OmegaConf.to_container(layer) if OmegaConf.is_config(layer) else layer)
    OmegaConf.set_struct(cfg, False)
    with open_dict(cfg):
        cfg.pop("hydra", None)
    return cfg, layers, [path for _, path in named]


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
    return next((file.stem for file in files_of_models if _read(file).get("path") == path), OWN)


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


def _check_defaults(primary: DictConfig, folder: Path) -> None:
    """Look through the user's own files of a defaults list, which Hydra reads, and through those that they name.

    Raises:
        BadInput: one is too large, or has a resolver.
    """
    from omegaconf import OmegaConf

    todo, seen = [primary], set()
    while todo and folder != RECIPES:
        defaults: Any = OmegaConf.to_container(todo.pop(), resolve=False)
        named = defaults.get("defaults") if isinstance(defaults, dict) else None
        for entry in named if isinstance(named, list) else ():
            pairs = entry.items() if isinstance(entry, dict) else [("", entry)]
            for group, name in pairs:
                path = (
                    folder
                    / str(group).removeprefix("override ").strip()
                    / f"{str(name).removesuffix('.yaml')}.yaml"
                )
                if path.is_file() and path not in seen:
                    seen.add(path)
                    todo.append(_read(path))
                    refuse_resolvers(OmegaConf.to_container(todo[-1], resolve=False))


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
        fresh, _, _ = _load({"defaults": defaults}, folder)
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


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """One message for whatever the libraries below raise."""
    from hydra.errors import HydraException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
    from yaml import YAMLError

    try:
        yield
    except MissingMandatoryValue as fault:
        key = getattr(fault, "full_key", None) or "a key"
        raise BadInput(f"{what}: {key} is '???', a value that you must give: {key}=VALUE.") from None
    except OmegaConfBaseException as fault:
        key = getattr(fault, "full_key", None)
        where = f" at key {key!r}" if key else ""
        raise BadInput(
            f"{what}{where}: {_one_line(fault)}. Correct it in the file, or override it."
        ) from None
    except (HydraException, YAMLError, ValueError) as fault:
        raise BadInput(f"{what} can't be composed: {_one_line(fault)}.") from None
    except RecursionError:
        raise BadInput(f"{what}: its defaults list leads back to itself. Remove the circle.") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise BadInput(f"{what} can't be read: {fault}.") from None


def _one_line(fault: Exception) -> str:
    lines = [line.strip() for line in str(fault).splitlines()]
    lines = [
        line for line in lines if line and not line.startswith(("full_key:", "object_type=", "See http"))
    ]
    return "; ".join(lines[:4]).rstrip(".")
