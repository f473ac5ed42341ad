"""All that can be known of a recipe before data and model load."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lenrl import tasks
from lenrl.config import ModelSettings, OtherData, Recipe
from lenrl.errors import BadInput, did_you_mean
from lenrl.evaluation.other_data import settings_of, verifier_of
from lenrl.evaluation.other_data import task_of as task_of_entry
from lenrl.evaluation.settings import EvalSettings
from lenrl.generation import controls
from lenrl.generation.pretrained import HUB_ID, find
from lenrl.strategies.base import RunInfo
from lenrl.strategies.faults import calling
from lenrl.strategies.method import Method
from lenrl.training.batching import BatchLayout, batch_faults
from lenrl.training.evaluation import FIGURES
from lenrl.training.fit import fit
from lenrl.training.hardware import fallbacks, this_machine
from lenrl.training.lean import every_row_reason
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
    if faults := _model_faults(recipe.model):
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
    faults: Sequence[str] = (),
    others: Sequence[CheckedOther] = (),
) -> CheckedRun:
    """A recipe's run with that method on that task, if it can work.

    Args:
        faults: those that were found already.
        others: data to evaluate on besides the recipe's `evals`.

    Raises:
        BadInput: with every fault found, one a line.
    """
    trainer = dict(recipe.trainer)
    layout = _layout(trainer, processes)
    faults = batch_faults(layout) + list(faults)
    verifier = task.verifier_settings(recipe.verifier)
    others = (*(_other(entry, recipe) for entry in recipe.evals), *others)
    faults += [*_name_faults(task, others), *_best_faults(trainer, task, others), *_control_faults(recipe)]
    unlabelled = (
        [_unlabelled(recipe, method)]
        if method.needs_gold and verifier.needs_gold and not task.labelled
        else []
    )
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
    faults = method.errors(run_info) + _seam_faults(recipe, method, layout) + unlabelled
    faults += _hint_faults(recipe, run_info)
    if faults:
        raise BadInput("\n".join(faults))
    warnings = [
        *fallbacks(recipe.launch, this_machine()),
        *method.warnings(run_info),
        *_idle_options(trainer),
        *_extra_rows(recipe, method, trainer),
    ]
    return CheckedRun(recipe, method, task, verifier, trainer, layout, run_info, warnings, others)


def _other(entry: OtherData, recipe: Recipe) -> CheckedOther:
    task = task_of_entry(entry)
    return CheckedOther(entry, task, verifier_of(entry, recipe, task), settings_of(entry, recipe))


def _control_faults(recipe: Recipe) -> list[str]:
    """Controls of the last evaluation that there are not: found before training, not after it."""
    try:
        controls.read(recipe.eval.controls, recipe.eval.control)
    except BadInput as fault:
        return [f"eval.{fault}"]
    return []


def _hint_faults(recipe: Recipe, run_info: RunInfo) -> list[str]:
    """The last evaluation is to ask with words that there are not."""
    budget = recipe.method.budget
    if not recipe.eval.hints or budget.reads_columns:
        return []
    with calling(budget):
        ways = budget.ways(["q"], [budget.visible({}, prompt="", gold=None)], run_info)
    if any(row.hint or row.system for rows in ways.values() for row in rows):
        return []
    return [f"eval.hints=true: budget {budget.name!r} puts no words into prompts; leave it out"]


def _name_faults(task: tasks.Task, others: Sequence[CheckedOther]) -> list[str]:
    """Entries of `evals` that are called as a part of the mix is."""
    parts = task.parts if isinstance(task, tasks.MixTask) else ()
    return [
        f"evals: {name} is a part of the mix too, and both would give eval_{name}_accuracy; give the entry another name"
        for name in parts
        if name in {other.entry.name for other in others}
    ]


def _best_faults(trainer: Mapping[str, Any], task: tasks.Task, others: Sequence[CheckedOther]) -> list[str]:
    """A figure to choose the best checkpoint by that no evaluation of the run gives."""
    chosen = trainer.get("metric_for_best_model")
    if chosen is None:
        return []
    parts = task.parts if isinstance(task, tasks.MixTask) else ()
    own = ["", *(f"{part}_" for part in parts)] if task.count("dev") != 0 else []
    prefixes = [*own, *(f"{other.entry.name}_" for other in others)]
    known = [f"eval_{prefix}{figure}" for prefix in prefixes for figure in FIGURES]
    if chosen in known and trainer.get("eval_steps"):
        return []
    hint = (
        did_you_mean(chosen, known, "trainer.metric_for_best_model={}") if trainer.get("eval_steps") else ""
    )
    rule = (
        f"the evaluations give {', '.join(known)}" if trainer.get("eval_steps") else "there is no evaluation"
    )
    return [
        f"trainer.metric_for_best_model={chosen!r}: {rule}; name one, with trainer.eval_steps above 0.{hint}"
    ]


def _model_faults(settings: ModelSettings) -> list[str]:
    """Folders that do not exist; what is on the hub is known when it is asked."""
    faults = []
    try:
        find(settings.path)
    except BadInput as fault:
        faults.append(f"model.path: {fault}.")
    own = settings.tokenizer
    if own is not None and not HUB_ID.fullmatch(own) and not os.path.isdir(Path(own).expanduser()):
        faults.append(f"model.tokenizer={own!r}: no such folder. Give a tokenizer's folder or a hub id.")
    return faults


def _unlabelled(recipe: Recipe, method: Method) -> str:
    readers = [f"{slot} {rule.name!r}" for slot, rule in method.slots.items() if rule.reads_verdicts]
    return (
        f"task {recipe.task.get('name')!r} has no gold answers (task.answer=null), and {', '.join(readers)} must "
        "know what is correct. Name the column of the answers by task.answer, or choose strategies that "
        "need none, such as reward=surrogate."
    )


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


def _seam_faults(recipe: Recipe, method: Method, layout: BatchLayout) -> list[str]:
    """Options that would do nothing, or fight a strategy."""
    faults = []
    trainer, sampling = recipe.trainer, method.sampling
    for name in method.objective.refuses:
        if name in trainer and trainer[name] != GRPO_FIELDS[name].default:
            faults.append(
                f"trainer.{name}={trainer[name]!r} does nothing under `objective: {method.objective.name}`, which "
                "replaces TRL's loss. Leave it out, or choose `objective: trl`."
            )
    if "ref_logps" in method.objective.reads_batch and not value_of(trainer, "beta"):
        faults.append(
            f"objective {method.objective.name!r} reads log-probs under the reference model, and trainer.beta=0.0 "
            "makes none: set trainer.beta above 0."
        )
    for entry in method.forbids:
        idle = entry.field.startswith("vllm_") and not trainer.get("use_vllm")
        if not idle and value_of(trainer, entry.field) == entry.value:
            faults.append(f"trainer.{entry.field}={entry.value!r}: {entry.why}")
    if sampling.selects and recipe.launch.get("distributed_type") == "DEEPSPEED":
        faults.append(
            f"sampling={sampling.name!r} may have to leave a step's weights untouched, which DeepSpeed's "
            "optimizer does not allow. Use launch=multi_gpu or launch=fsdp2, or sampling=uniform."
        )
    if sampling.selects and layout.accumulation > layout.micro_steps_per_rollout:
        faults.append(
            f"sampling={sampling.name!r} leaves groups out of a whole optimizer step, and here a step of "
            f"{layout.accumulation} micro-batches spans several rollouts of {layout.micro_steps_per_rollout}. Set "
            f"trainer.steps_per_generation={layout.accumulation}, or sampling=uniform."
        )
    sharded = (recipe.launch.get("deepspeed_config") or {}).get("zero_stage") == 3
    if "teacher_logps" in method.reads and (sharded or recipe.launch.get("distributed_type") == "FSDP"):
        faults.append(
            f"advantage {method.advantage.name!r} puts its teacher's weights in the place of the policy's, and this "
            "launch shards those. Use launch=multi_gpu or launch=zero2."
        )
    if trainer.get("sync_ref_model") and recipe.launch.get("distributed_type") in ("DEEPSPEED", "FSDP"):
        faults.append(
            "trainer.sync_ref_model=True: the reference model moves, so that it must be part of a checkpoint, and its "
            "shards are not. Use launch=multi_gpu, or trainer.sync_ref_model=false."
        )
    return faults


def _reshaped_by(trainer: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields, with their values, that change the probabilities of tokens beside the temperature."""
    names = ("top_p", "top_k", "min_p", "repetition_penalty")
    values = {name: value_of(trainer, name) for name in names}
    return tuple(
        f"trainer.{name}={value}" for name, value in values.items() if value != GRPO_FIELDS[name].default
    )


def _extra_rows(recipe: Recipe, method: Method, trainer: Mapping[str, Any]) -> list[str]:
    """A reason why the update computes rows that have no advantage too; empty: it does not."""
    reason = every_row_reason(method.objective, partial(value_of, trainer)) if recipe.update.lean else None
    return [f"update.lean: rows without an advantage are computed too, since {reason}"] if reason else []


def _idle_options(trainer: Mapping[str, Any]) -> list[str]:
    """Options that are taken and do less than they seem to."""
    idle = []
    saves, evaluates = trainer.get("save_steps"), trainer.get("eval_steps")
    if saves and evaluates and evaluates % saves:
        idle.append(
            f"trainer.eval_steps={evaluates} is no multiple of trainer.save_steps={saves}: the best evaluation may "
            "be at a step that has no checkpoint"
        )
    for name in ("min_p", "repetition_penalty"):
        if trainer.get(name) not in (None, GRPO_FIELDS[name].default):
            idle.append(f"trainer.{name}={trainer[name]} shapes the rollouts only; evaluations do without it")
    return idle
