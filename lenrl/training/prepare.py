"""All that can be known of a recipe before data and model load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lenrl import tasks
from lenrl.config import OtherData, Recipe
from lenrl.errors import BadInput
from lenrl.evaluation.other_data import settings_of, verifier_of
from lenrl.evaluation.other_data import task_of as task_of_entry
from lenrl.evaluation.settings import EvalSettings
from lenrl.strategies.base import RunInfo
from lenrl.strategies.method import Method
from lenrl.training import recipe_rules as rules
from lenrl.training.batching import BatchLayout, batch_faults
from lenrl.training.fit import fit
from lenrl.training.hardware import fallbacks, this_machine
from lenrl.training.peft import peft_config, quantization_config
from lenrl.training.run_info import run_info_of, task_of
from lenrl.training.trl_fields import GRPO_FIELDS, field_faults, value_of
from lenrl.verify.settings import VerifierSettings


@dataclass(frozen=True)
class CheckedOther:
    """Other data to evaluate on: an entry of the recipe's `evals`, and what was made of it."""

    entry: OtherData
    task: tasks.Task
    verifier: VerifierSettings
    settings: EvalSettings
    as_trained: bool = False  # with the budget's words, and judged as rollouts are; else as `lenrl eval` does

    @property
    def cap(self) -> int:
        """Tokens of a completion at most."""
        return self.settings.max_new_tokens


@dataclass(frozen=True)
class CheckedRun:
    """A recipe that has passed every check that needs no model."""

    recipe: Recipe
    method: Method  # the recipe's, or the one of a Python script
    task: tasks.Task
    verifier: VerifierSettings
    grpo: dict[str, Any]  # fields for GRPOConfig
    layout: BatchLayout
    run_info: RunInfo
    warnings: list[str] = field(default_factory=list)
    others: tuple[CheckedOther, ...] = ()  # in the order of the recipe's `evals`
    # Of settings that were chosen for the model, by key
    reasons: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)  # shapes the result and stands in no recipe: hashes

    @property
    def identity(self) -> dict[str, Any]:
        """All that shapes the result, which a checkpoint must agree with to be continued."""
        return {**self.recipe.identity(), **self.code}

    @property
    def evaluates(self) -> bool:
        """The model is evaluated during training, on development problems or on other data."""
        return bool(self.grpo.get("eval_steps")) and (self.task.count("dev") != 0 or bool(self.others))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the task that the run uses."""
        dev = self.evaluates and self.task.count("dev") != 0
        used = {"train": True, "dev": dev, "test": self.task.count("test") != 0}
        return tuple(split for split, is_used in used.items() if is_used)


def prepare(recipe: Recipe, processes: int | None = None) -> CheckedRun:
    """Check all that can be checked before a model loads, with open settings chosen for it (`fit`).

    Args:
        processes: processes of the launch; default: the recipe's `launch.num_processes`.

    Raises:
        BadInput: with every fault found, one a line.
    """
    trainer = dict(recipe.trainer)
    if faults := field_faults(trainer):
        raise BadInput("\n".join(faults))
    peft_config(recipe.model.peft)
    quantization_config(recipe.model.peft)
    processes = processes or int(recipe.launch.get("num_processes", 1))
    if faults := rules.model_folders(recipe.model):
        raise BadInput("\n".join(faults))
    fitted = fit(recipe, processes)
    recipe = fitted.recipe
    run = checked(recipe, recipe.method, task_of(recipe), processes)
    return replace(run, reasons=fitted.reasons)


def checked(
    recipe: Recipe,
    method: Method,
    task: tasks.Task,
    processes: int,
    *,
    others: Sequence[CheckedOther] = (),
) -> CheckedRun:
    """A recipe's run with that method on that task, if it can work.

    `others`: data to evaluate on besides the recipe's `evals`.

    Raises:
        BadInput: with every fault found, one a line.
    """
    trainer = dict(recipe.trainer)
    layout = _layout(trainer, processes)
    verifier = task.verifier_settings(recipe.verifier)
    others = (*(_other(entry, recipe) for entry in recipe.evals), *others)
    names = [other.entry.name for other in others]
    unlabelled = rules.unlabelled(recipe, method) if verifier.needs_gold and not task.labelled else []
    faults = [*batch_faults(layout), *rules.clashing_names(task, names)]
    faults += [*rules.best_metric(trainer, task, names), *rules.controls_of_evaluation(recipe)]
    if faults:
        raise BadInput("\n".join(faults + unlabelled))
    sizes = {**trainer, "num_generations": layout.num_generations}
    run_info = run_info_of(sizes, layout.updates_per_rollout)
    temperature = float(value_of(trainer, "temperature"))
    run_info = replace(
        run_info,
        micro_batch_rows=layout.rows_per_process,
        rollout_rows=layout.rows_per_rollout,
        temperature=temperature,
        reshaped_by=_reshaped_by(trainer),
    )
    faults = method.errors(run_info) + rules.seam(recipe, method, layout) + unlabelled
    faults += rules.hints_of_evaluation(recipe, run_info)
    if faults:
        raise BadInput("\n".join(faults))
    warnings = [
        *fallbacks(recipe.launch, this_machine()),
        *method.warnings(run_info),
        *rules.idle_options(trainer),
        *rules.extra_rows(recipe, method, trainer),
    ]
    return CheckedRun(recipe, method, task, verifier, trainer, layout, run_info, warnings, others)


def _other(entry: OtherData, recipe: Recipe) -> CheckedOther:
    task = task_of_entry(entry)
    return CheckedOther(entry, task, verifier_of(entry, recipe, task), settings_of(entry, recipe))


def _layout(trainer: Mapping[str, Any], processes: int) -> BatchLayout:
    accumulation = int(value_of(trainer, "gradient_accumulation_steps"))
    return BatchLayout(
        processes=processes,
        rows_per_process=int(value_of(trainer, "per_device_train_batch_size")),
        accumulation=accumulation,
        steps_per_generation=int(trainer.get("steps_per_generation") or accumulation),
        num_iterations=int(value_of(trainer, "num_iterations")),
        num_generations=int(value_of(trainer, "num_generations")),
    )


def _reshaped_by(trainer: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields, with their values, that change the probabilities of tokens beside the temperature."""
    names = ("top_p", "top_k", "min_p", "repetition_penalty")
    values = {name: value_of(trainer, name) for name in names}
    return tuple(
        f"trainer.{name}={value}" for name, value in values.items() if value != GRPO_FIELDS[name].default
    )
