"""A recipe's task, and what strategies may know of its run, without TRL."""

from collections.abc import Mapping
from typing import Any

from lenrl import tasks
from lenrl.config import Recipe
from lenrl.errors import BadInput
from lenrl.strategies.base import RunInfo

LEAST = {"num_generations": 2, "max_completion_length": 1, "max_steps": 1}  # of fields of `trainer`


def task_of(recipe: Recipe) -> tasks.Task:
    """The recipe's task; without gold answers where the data has none and no strategy reads verdicts.

    Raises:
        BadInput: the task's options, or for such a method its data, can't be read.
    """
    task = tasks.build(recipe.task)
    return task if recipe.method.needs_gold else task.where_answered()


def run_info_of(trainer: Mapping[str, Any], updates_per_rollout: int = 1) -> RunInfo:
    """Facts of a run with these fields of `trainer`, its data unread.

    Raises:
        BadInput: a group size, a cap or a number of steps that no run can have.
    """
    for name, least in LEAST.items():
        value = trainer.get(name)
        if type(value) is not int or value < least:
            raise BadInput(f"trainer.{name}={value!r}: needs a whole number of at least {least}.")
    return RunInfo(
        num_generations=trainer["num_generations"],
        max_length=trainer["max_completion_length"],
        max_steps=trainer["max_steps"],
        updates_per_rollout=updates_per_rollout,
    )
