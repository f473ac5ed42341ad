"""Places of recipes, and the recipe that a name means."""

import os
from pathlib import Path

from lenrl.errors import BadInput, did_you_mean

_PACKAGE = Path(__file__).resolve().parent
# Next to the package in a checkout, inside it in an installed wheel.
RECIPES = next(
    (d for d in (_PACKAGE / "recipes", _PACKAGE.parent / "recipes") if d.is_dir()), _PACKAGE / "recipes"
)
GROUPS = ("model", "task", "launch")  # keys whose value may be the name of a file in recipes/KEY/
SUFFIXES = (".yaml", ".yml")
DATA = (".jsonl", ".json", ".csv", ".parquet")  # task=FILE is a table of one's own


def recipe_files() -> dict[str, Path]:
    """Shipped recipes by name (`drpo`, `paper/drpo_r1_distill_qwen_1_5b`), without the groups and what recipes
    begin with: `base`, and names that start with an underscore."""
    files = {p.relative_to(RECIPES).with_suffix("").as_posix(): p for p in sorted(RECIPES.rglob("*.yaml"))}
    hidden = (*GROUPS, "sweep")
    return {
        name: path
        for name, path in files.items()
        if name != "base" and name.split("/")[0] not in hidden and not path.name.startswith("_")
    }


def group_choices(group: str, near: Path | None = None) -> list[str]:
    """Names that `GROUP=NAME` accepts; `near` is the folder of a user's recipe."""
    folders = [RECIPES / group] + ([near / group] if near else [])
    return sorted({p.stem for folder in folders for p in folder.glob("*.yaml")})


def find(recipe: str) -> tuple[str, Path]:
    """The name and file of a recipe: a shipped name, a YAML file, or a run's folder.

    Raises:
        BadInput: there is none; the nearest name is in the message.
    """
    shipped = recipe_files()
    if recipe in shipped:
        return recipe, shipped[recipe]
    if recipe == "base":
        return recipe, RECIPES / "base.yaml"
    path = Path(os.path.expanduser(recipe))  # noqa: PTH111 - `Path.expanduser` raises where nobody has that name
    for candidate in (path, path.with_name(path.name + ".yaml") if path.name else path, path / "recipe.yaml"):
        # Of a name that is too long for a file `Path.is_file` raises.
        if os.path.isfile(candidate) and (candidate.suffix in SUFFIXES or candidate == path):
            return candidate.stem, candidate.resolve()
    if path.suffix in SUFFIXES:
        inside = path.with_suffix("").as_posix()
        hint = f"Did you mean the shipped recipe {inside!r}?" if inside in shipped else "Check the path."
        raise BadInput(f"recipe {recipe!r}: there is no such file. {hint}")
    hint = did_you_mean(recipe, shipped, "{!r}")
    raise BadInput(
        f"recipe {recipe!r}: neither a shipped recipe nor a file.{hint} `lenrl ls` lists the recipes; "
        "a file of your own is given by its path, ending in .yaml."
    )
