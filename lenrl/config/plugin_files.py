"""The plug-in files of a recipe: those of the command line, and the copies in the folder of a run."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lenrl import plugins
from lenrl.config.yaml_files import read_yaml
from lenrl.errors import BadInput
from lenrl.files import write_whole

FOLDER = "plugins"  # beside a run's recipe.yaml


def load(given: Sequence[Path | str]) -> dict[str, plugins.PluginFile]:
    """The files of `--plugin` by name, imported.

    Raises:
        BadInput: one cannot be imported, or two have one name.
    """
    files: dict[str, plugins.PluginFile] = {}
    for path in given:
        file = plugins.load(path)
        if files.setdefault(file.path.name, file).path != file.path:
            raise BadInput(
                f"--plugin {files[file.path.name].path} and {path} have one name, and a run keeps its plug-ins side "
                "by side; rename one"
            )
    return files


def hashes(files: Mapping[str, plugins.PluginFile]) -> dict[str, str]:
    """Notes of a recipe on plug-in files."""
    return {name: files[name].digest for name in sorted(files)}


def complete(noted: Any, given: Mapping[str, plugins.PluginFile], folder: Path) -> dict[str, str]:
    """Hashes of all of a recipe's plug-in files by name, the noted ones imported from their copies in the folder.

    Args:
        noted: `plugins` of the recipe's file: hashes by name. A given file takes the place of the noted one.
        given: what `load` gave.
        folder: the recipe's file stands there.

    Raises:
        BadInput: a copy is missing, or is not what was noted.
    """
    noted = noted or {}
    if not isinstance(noted, Mapping) or any(
        "/" in str(name) or not str(name).endswith(".py") for name in noted
    ):
        raise BadInput(
            f"plugins={noted!r}: names of Python files with their hashes, as in the recipe.yaml of a run"
        )
    files = dict(given)
    for name in noted.keys() - given.keys():
        copy = folder / FOLDER / name
        if not copy.is_file():
            raise BadInput(
                f"the recipe was made with the plug-in {name}, and there is no {copy}; give --plugin {name}"
            )
        files[name] = plugins.load(copy)
        if files[name].digest != noted[name]:
            raise BadInput(
                f"{copy} is not the plug-in that the run was made with: its hash is {files[name].digest}, noted is "
                f"{noted[name]}. Put it back, or begin another run with --plugin"
            )
    return hashes(files)


def load_of_runs(places: Iterable[Path], given: Mapping[str, plugins.PluginFile]) -> None:
    """Import the plug-ins of runs, by their folders or models; a given file takes the place of a run's.

    Raises:
        BadInput: a copy is missing, or two runs have files of one name that differ.
    """
    seen: dict[str, tuple[str, Path]] = {}
    for place in places:
        for folder in (place, place.parent):
            recipe = folder / "recipe.yaml"
            noted = _noted(recipe) if recipe.is_file() else {}
            for name, digest in complete(noted, given, folder).items():
                other = seen.setdefault(name, (digest, folder))
                if other[0] != digest:
                    raise BadInput(
                        f"the runs {other[1]} and {folder} were made with different plug-ins named {name}; evaluate "
                        f"them one by one, or say which one to use: --plugin {name}"
                    )


def write_copies(names: Iterable[str], folder: Path) -> None:
    """Copies of imported plug-in files and the modules beside them, as they were then, in the folder's `plugins/`,
    which holds no others."""
    kept = {file: text for name in names for file, text in plugins.texts_of(name).items()}
    place = folder / FOLDER
    for stale in place.glob("*.py"):
        if stale.name not in kept:
            stale.unlink()
    for name, source in kept.items():
        place.mkdir(exist_ok=True)
        write_whole(place / name, partial(Path.write_bytes, data=source))  # a trial beside may read it


def _noted(recipe: Path) -> Any:
    try:
        content = read_yaml(recipe)
    except BadInput:
        return {}
    return content.get("plugins") if isinstance(content, dict) else {}
