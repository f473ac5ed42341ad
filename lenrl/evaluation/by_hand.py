"""The line that measures models as a run's recipe says: its test problems, decoding, verifier and model options."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lenrl.config import word
from lenrl.evaluation.other_data import as_trained
from lenrl.tasks import Task

if TYPE_CHECKING:
    from lenrl.config import Recipe

SAMPLES = 8  # a prompt, in the command that measures a run more exactly
OTHER_SPLITS = ("train", "dev")  # numbers of problems that don't touch the test split


def eval_command(models: Sequence[str], recipe: Recipe, task: Task, out: Path) -> str:
    """`lenrl eval BASE MODEL ... task=... --out OUT`.

    Args:
        models: folders of what was trained; the recipe's own model is the base.
        recipe: of the run, or what the runs have in common.
    """
    words = ["lenrl", "eval", recipe.model.path, *models, f"task={task.name}"]
    options = task.model_dump(mode="json", exclude_unset=True, exclude={"name", *OTHER_SPLITS})
    words += [f"task.{name}={_value(value)}" for name, value in options.items()]
    trained = {**as_trained(recipe), "seed": recipe.seed or None}
    judged = sorted(trained.pop("verifier").items())
    words += [f"verifier.{name}={_value(value)}" for name, value in judged]
    given = {name: value for name, value in trained.items() if value is not None and value is not False}
    words += [f"{name}={_value(value)}" for name, value in given.items()]
    return shlex.join([*words, f"samples={SAMPLES}", "--out", str(out)])


def _value(value: object) -> str:
    """A setting's value in the grammar of overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_value(name)}:{_value(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return word(value)
    return json.dumps(value)
