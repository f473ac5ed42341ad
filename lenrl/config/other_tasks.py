"""Tasks that a recipe names inside of its `evals` and of a mix, written out as their options."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lenrl.config.yaml_files import read_yaml
from lenrl.errors import BadInput, shown
from lenrl.files import worded
from lenrl.recipe_paths import DATA, RECIPES

WORDS = ("system_prompt", "template")  # options of tasks that may be `@FILE`


def spelled_out(plain: dict[str, Any], near: Path | None = None) -> None:
    """Replace names of tasks by their options and `@FILE` by a file's words, in place.

    A recipe says all by itself, whatever files change later; what they held is part of what a resumed run agrees with.

    Args:
        plain: a recipe.
        near: the folder of the user's recipe, whose `task/` may hold files too.

    Raises:
        BadInput: an entry is neither a name nor a mapping with `task`.
    """
    if "task" in plain:
        plain["task"] = _parts(plain["task"], near)
    if isinstance(plain.get("evals"), str):  # evals=aime24
        plain["evals"] = [plain["evals"]]
    if isinstance(plain.get("evals"), list):
        plain["evals"] = [_eval(entry, near) for entry in plain["evals"]]
    model, evals = plain.get("model"), plain.get("evals")
    if isinstance(model, dict) and "chat_template" in model:
        model["chat_template"] = worded(model["chat_template"], "model.chat_template")
    _word(plain.get("task"), "task")
    for entry in evals if isinstance(evals, list) else ():
        _word(entry["task"], f"evals, {entry['name']}: task")


def _word(task: Any, place: str) -> None:
    """In place, a task's words that stand in files."""
    if not isinstance(task, dict):
        return
    for name in WORDS:
        if name in task:
            task[name] = worded(task[name], f"{place}.{name}")
    parts = task.get("parts")
    for name, part in parts.items() if isinstance(parts, Mapping) else ():
        if isinstance(part, Mapping):
            _word(part.get("task"), f"{place}.parts.{name}.task")


def _eval(entry: Any, near: Path | None) -> dict[str, Any]:
    entry = {"task": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, Mapping) or "task" not in entry:
        raise BadInput(
            f"evals: {shown(entry, 80)} names no task; give a name of recipes/task/, a data file, or "
            "{task: ..., samples: ..., name: ...}"
        )
    return {"name": _name(entry["task"]), **entry, "task": options_of(entry["task"], near)}


def _parts(task: Any, near: Path | None) -> Any:
    """A task's options, where it is a mix with those of its parts' tasks."""
    if not (
        isinstance(task, Mapping) and task.get("name") == "mix" and isinstance(task.get("parts"), Mapping)
    ):
        return task
    parts = {}
    for name, given in task["parts"].items():
        part = {"task": given} if isinstance(given, str) else given
        if not isinstance(part, Mapping) or "task" not in part:
            raise BadInput(
                f"task.parts.{name}={shown(part, 60)} names no task; give {{task: ..., weight: ...}}, with a name of "
                "recipes/task/, a data file, or options"
            )
        parts[name] = {**part, "task": options_of(part["task"], near)}
    return {**task, "parts": parts}


def options_of(task: Any, near: Path | None = None) -> Any:
    """A task's options: of a file of `task/`, of a data file, or of a task without options."""
    if isinstance(task, Mapping) and isinstance(task.get("use"), str):  # a file's, with changes
        return {
            **options_of(task["use"], near),
            **{key: value for key, value in task.items() if key != "use"},
        }
    if not isinstance(task, str):
        return _parts(task, near)
    for folder in [near / "task" if near else None, RECIPES / "task"]:
        if folder is not None and (folder / f"{task}.yaml").is_file():
            return read_yaml(folder / f"{task}.yaml")
    if Path(task).suffix in DATA:
        return {"name": "table", "path": task, "split": "all"}
    return {"name": task}


def _name(task: Any) -> str:
    """A name for the figures of a task: its own, or its file's."""
    if isinstance(task, Mapping):
        task = task.get("use") or task.get("path") or task.get("generator") or task.get("name")
    return re.sub(r"[^A-Za-z0-9_-]", "_", Path(str(task)).stem).lstrip("-")[:100]
