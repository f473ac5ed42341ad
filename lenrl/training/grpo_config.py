"""TRL's configuration of a checked run."""

from pathlib import Path
from typing import Any

import torch
from trl.trainer.grpo_config import GRPOConfig

from lenrl.errors import BadInput
from lenrl.training.hardware import mixed_precision, this_machine
from lenrl.training.peft import quantization_config
from lenrl.training.prepare import CheckedRun
from lenrl.training.trl_fields import GRPO_FIELDS, value_of

SHORTER = ("tokens", "truncated_share")  # end the names of figures of which less is better


def grpo_config(checked_run: CheckedRun, run_dir: Path) -> GRPOConfig:
    """TRL's configuration of a checked run."""
    recipe = checked_run.recipe
    fields = dict(checked_run.grpo)
    cuda = torch.cuda.is_available()
    precision, _ = mixed_precision(recipe, this_machine())
    fields.pop("generation_batch_size", None)  # TRL takes it or steps_per_generation
    eval_steps = fields.pop("eval_steps", None)
    evaluates = checked_run.evaluates
    # DeepSpeed's is the launch's: both agree.
    fields |= {"bf16": precision == "bf16", "fp16": precision == "fp16"}
    fields.setdefault("save_strategy", "steps" if fields.get("save_steps") else "no")
    of_dev = checked_run.task.count("dev") != 0
    prefix = "" if of_dev or not checked_run.others else f"{checked_run.others[0].entry.name}_"
    fields.setdefault("metric_for_best_model", f"eval_{prefix}aes")
    fields.setdefault("greater_is_better", not fields["metric_for_best_model"].endswith(SHORTER))
    fields.setdefault("dataloader_pin_memory", cuda)
    fields = _renamed(fields)
    if not (evaluates and _has_values(checked_run, fields["metric_for_best_model"])):
        fields["metric_for_best_model"] = None  # no checkpoint is the best
    model_options = {
        "dtype": recipe.model.dtype,
        "attn_implementation": recipe.model.attn_implementation,
        "revision": recipe.model.revision,
        "quantization_config": quantization_config(recipe.model.peft),
    }
    ours = dict(
        output_dir=str(run_dir),
        seed=recipe.seed,
        report_to=list(recipe.logging.report_to) or "none",
        project=recipe.logging.project,
        run_name=f"{recipe.recipe}/{run_dir.name}",
        logging_steps=1,
        logging_nan_inf_filter=False,
        use_cpu=not cuda,
        disable_tqdm=True,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=eval_steps if evaluates else None,
        eval_on_start=evaluates,
        num_generations_eval=1,
        model_init_kwargs={name: value for name, value in model_options.items() if value},
        trust_remote_code=recipe.model.trust_remote_code,
    )
    try:
        return GRPOConfig(**ours, **fields)
    except (ValueError, TypeError) as fault:  # fields that contradict each other, or this machine
        raise BadInput(f"trainer: TRL refuses these fields: {fault}") from fault


def _has_values(checked_run: CheckedRun, metric: str) -> bool:
    """An evaluation gives the figure: tokens always, accuracy where there are gold answers or a function judges."""
    name = metric.removeprefix("eval_").rpartition("_")[0]
    others = [other for other in checked_run.others if other.entry.name == name]
    judged = checked_run.method.judge is not None and not others
    task = others[0].task if others else checked_run.task
    return task.labelled or judged or metric.endswith(SHORTER)


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields under the names that transformers has for them now, where it has begun to warn of the former ones."""
    for name in ("gradient_checkpointing", "gradient_checkpointing_kwargs"):
        new = name.replace("gradient", "activation")
        if new in GRPO_FIELDS and (value := value_of(fields, name)) is not None:
            fields = {new: value, **fields}
            fields.pop(name, None)
    return fields
