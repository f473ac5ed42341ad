"""Rules that no section of a recipe can check by itself, each as sentences on what breaks it; empty: nothing does.

The first are faults, `idle_options` and `extra_rows` warnings.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lenrl import tasks
from lenrl.config import ModelSettings, Recipe
from lenrl.errors import BadInput, did_you_mean
from lenrl.generation import controls
from lenrl.generation.pretrained import HUB_ID, find
from lenrl.strategies.base import RunInfo
from lenrl.strategies.faults import calling
from lenrl.strategies.method import Method
from lenrl.training.batching import BatchLayout
from lenrl.training.evaluation import FIGURES
from lenrl.training.lean import every_row_reason
from lenrl.training.trl_fields import GRPO_FIELDS, value_of


def model_folders(settings: ModelSettings) -> list[str]:
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


def controls_of_evaluation(recipe: Recipe) -> list[str]:
    """Controls of the last evaluation that there are not: found before training, not after it."""
    try:
        controls.read(recipe.eval.controls, recipe.eval.control)
    except BadInput as fault:
        return [f"eval.{fault}"]
    return []


def clashing_names(task: tasks.Task, names: Sequence[str]) -> list[str]:
    """Entries of `evals`, of these names, that are called as a part of the mix is."""
    parts = task.parts if isinstance(task, tasks.MixTask) else ()
    return [
        f"evals: {name} is a part of the mix too, and both would give eval_{name}_accuracy; give the entry another name"
        for name in parts
        if name in names
    ]


def best_metric(trainer: Mapping[str, Any], task: tasks.Task, names: Sequence[str]) -> list[str]:
    """A figure to choose the best checkpoint by that no evaluation of the run gives."""
    chosen = trainer.get("metric_for_best_model")
    if chosen is None:
        return []
    parts = task.parts if isinstance(task, tasks.MixTask) else ()
    own = ["", *(f"{part}_" for part in parts)] if task.count("dev") != 0 else []
    prefixes = [*own, *(f"{name}_" for name in names)]
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


def unlabelled(recipe: Recipe, method: Method) -> list[str]:
    """Strategies that read verdicts, where there are no gold answers to judge by."""
    if not method.needs_gold:
        return []
    readers = [f"{slot} {rule.name!r}" for slot, rule in method.slots.items() if rule.reads_verdicts]
    return [
        f"task {recipe.task.get('name')!r} has no gold answers (task.answer=null), and {', '.join(readers)} must "
        "know what is correct. Name the column of the answers by task.answer, or choose strategies that "
        "need none, such as reward=surrogate."
    ]


def seam(recipe: Recipe, method: Method, layout: BatchLayout) -> list[str]:
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


def hints_of_evaluation(recipe: Recipe, run_info: RunInfo) -> list[str]:
    """The last evaluation is to ask with words that there are not."""
    budget = recipe.method.budget
    if not recipe.eval.hints or budget.reads_columns:
        return []
    with calling(budget):
        ways = budget.ways(["q"], [budget.visible({}, prompt="", gold=None)], run_info)
    if any(row.hint or row.system for rows in ways.values() for row in rows):
        return []
    return [f"eval.hints=true: budget {budget.name!r} puts no words into prompts; leave it out"]


def extra_rows(recipe: Recipe, method: Method, trainer: Mapping[str, Any]) -> list[str]:
    """A reason why the update computes rows that have no advantage too; empty: it does not."""
    reason = every_row_reason(method.objective, partial(value_of, trainer)) if recipe.update.lean else None
    return [f"update.lean: rows without an advantage are computed too, since {reason}"] if reason else []


def idle_options(trainer: Mapping[str, Any]) -> list[str]:
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
