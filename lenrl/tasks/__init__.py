"""Tasks: where problems come from. `build` turns a recipe's `task` into one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lenrl import plugins
from lenrl.errors import validated
from lenrl.tasks.algorithms import AlgorithmsTask
from lenrl.tasks.base import SPLITS, Task, digest
from lenrl.tasks.chain import ChainTask
from lenrl.tasks.gym import GymTask
from lenrl.tasks.mix import MixTask, by_part
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import encode, messages, render, think_prefilled
from lenrl.tasks.table import SUFFIXES, TableTask

TASKS: dict[str, type[Task]] = {
    "chain": ChainTask,
    "table": TableTask,
    "gym": GymTask,
    "mix": MixTask,
    "algorithms": AlgorithmsTask,
}


def build(spec: Mapping[str, Any] | str) -> Task:
    """The task of a recipe's `task` section, or of a name, or of a data file, all rows of it.

    Raises:
        BadInput: unknown name or option (with the nearest one), or a value out of bounds.

    >>> build({"name": "chain", "test": 3}).test
    3
    """
    if isinstance(spec, str):
        spec = {"name": "table", "path": spec, "split": "all"} if _is_file(spec) else {"name": spec}
    name = spec.get("name")
    files = f"A data file ends in {', '.join(SUFFIXES)}: task.name=table task.path=FILE."
    kind = plugins.named("task", name, TASKS, "task={}", files)
    return validated(kind, spec, "task", f"task {name!r}")


def _is_file(text: str) -> bool:
    return Path(text).suffix in SUFFIXES or "/" in text or Path(text).is_file()
