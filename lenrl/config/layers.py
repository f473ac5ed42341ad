"""A recipe's file and what its defaults list names, read by Hydra into one mapping; one message for its faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl.config.recipe import SLOTS
from lenrl.config.validation import refuse_resolvers
from lenrl.config.yaml_files import checked_text
from lenrl.errors import BadInput
from lenrl.recipe_paths import RECIPES

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PRIMARY = "__recipe__"  # the name under which Hydra's store holds the file; cannot collide with a file's


def read(path: Path) -> DictConfig:
    from omegaconf import DictConfig, OmegaConf

    checked_text(path)
    cfg = OmegaConf.load(path)
    if not isinstance(cfg, DictConfig):
        raise BadInput(f"{path} holds a list; a recipe is a mapping of sections, see recipes/base.yaml.")
    return cfg


def load(
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
                    todo.append(read(path))
                    refuse_resolvers(OmegaConf.to_container(todo[-1], resolve=False))


@contextmanager
def readable(what: str) -> Iterator[None]:
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
