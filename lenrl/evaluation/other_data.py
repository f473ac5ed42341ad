"""The entries of a recipe's `evals`: their tasks, and how they are sampled, during training and after it alike."""

from __future__ import annotations

from typing import Any

from lenrl.config import OtherData, Recipe
from lenrl.errors import BadInput, validated
from lenrl.evaluation.settings import EvalSettings
from lenrl.tasks import Task, build
from lenrl.verify.settings import VerifierSettings

FOLDER = "evals"  # of a run's folder: a folder each
SAMPLED_OPTIONS = ("temperature", "top_p", "top_k")
MODEL_OPTIONS = ("dtype", "revision", "tokenizer", "chat_template", "think_prefilled", "trust_remote_code")


def task_of(entry: OtherData) -> Task:
    """The entry's task, with as many problems as it asks for.

    Raises:
        BadInput: options that the task refuses; the message names the entry.
    """
    try:
        task = build(entry.task)
    except BadInput as fault:
        raise BadInput(f"evals, {entry.name}: {fault}") from None
    return task if entry.count is None else task.model_copy(update={entry.split: entry.count})


def verifier_of(entry: OtherData, recipe: Recipe, task: Task) -> VerifierSettings:
    """The recipe's verifier with what the entry changes; its kind is the task's, where neither names one."""
    return task.verifier_settings({**recipe.verifier, **entry.verifier})


def as_trained(recipe: Recipe) -> dict[str, Any]:
    """Options of an evaluation that draws completions as the recipe's rollouts are, and loads and judges alike."""
    drawn = {name: recipe.trainer.get(name) for name in SAMPLED_OPTIONS}
    return {
        "verifier": recipe.verifier,
        "max_new_tokens": recipe.trainer["max_completion_length"],
        **{name: value for name, value in drawn.items() if value is not None},
        **{name: getattr(recipe.model, name) for name in MODEL_OPTIONS},
        "seed": recipe.seed,
    }


def settings_of(entry: OtherData, recipe: Recipe, **others: Any) -> EvalSettings:
    """Settings of `lenrl eval` that measure as the entry says; null is as the recipe draws its rollouts.

    Args:
        **others: settings that override the entry's.
    """
    own = {name: getattr(entry, name) for name in (*SAMPLED_OPTIONS, "max_new_tokens")}
    given = {
        **as_trained(recipe),
        **{name: value for name, value in own.items() if value is not None},
        "samples": entry.samples,
        "greedy": entry.greedy,
        "split": entry.split,
        "verifier": {**recipe.verifier, **entry.verifier},
        **({"engine": "vllm"} if recipe.trainer.get("use_vllm") else {}),
    }
    return validated(EvalSettings, given | others)
