"""The fields of TRL's GRPOConfig that a recipe may set, with their types and bounds."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from transformers import SchedulerType
from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS
from transformers.trainer_utils import SaveStrategy
from transformers.training_args import OptimizerNames
from trl.trainer.grpo_config import GRPOConfig

from lenrl.errors import did_you_mean, explain

GRPO_FIELDS = {f.name: f for f in dataclasses.fields(GRPOConfig)}

# Fields that lenrl decides, and why a recipe must not.
OWNED = {
    "output_dir": "set the top-level `output_dir`",
    "seed": "set the top-level `seed`",
    "data_seed": "the order of the data follows the top-level `seed`",
    "report_to": "set `logging.report_to`",
    "project": "set `logging.project`",
    "run_name": "the run is called by the top-level `name`",
    "resume_from_checkpoint": "set the top-level `resume`",
    "model_init_kwargs": "set `model.dtype`, `model.attn_implementation`, ...",
    "trust_remote_code": "set `model.trust_remote_code`",
    "scale_rewards": "the `advantage` slot decides how rewards are scaled; it bypasses this option",
    "reward_weights": "the `reward` slot decides (see `reward: weighted`); it bypasses this option",
    "multi_objective_aggregation": "the `advantage` slot decides (see `advantage: decoupled`)",
    "log_completions": "lenrl writes its own `completions/`; set `logging.completions`",
    "logging_steps": "`metrics.jsonl` has a line an optimizer step, always",
    "logging_strategy": "`metrics.jsonl` has a line an optimizer step, always",
    "remove_unused_columns": "the verifier needs the columns",
    "eval_strategy": "set `trainer.eval_steps`",
    "eval_on_start": "set `trainer.eval_steps`: the first evaluation is before the first step",
    "do_eval": "set `trainer.eval_steps`",
    "per_device_eval_batch_size": "set `update.eval_batch_size`",
    "num_generations_eval": "the development evaluation samples once a problem",
    "use_cpu": "follows from the machine and the launch",
    "logging_nan_inf_filter": "a loss that is not finite ends the run",
    "use_transformers_paged": "deprecated by TRL",
    "vllm_importance_sampling_cap": "deprecated by TRL",
    "dataloader_num_workers": "prompts are prepared in the main process, so that their order is exact",
    "chat_template_kwargs": "the evaluation would ask in other words; give model.tokenizer such a template",
    "generation_kwargs": "the evaluation would decode otherwise; the options themselves are fields of trainer",
    "ignore_data_skip": "a resumed run would train on data it has seen",
    "save_only_model": "a checkpoint without the optimizer's state could not be continued",
    "save_on_each_node": "the run's folder is on a file system that all machines share",
    "restore_callback_states_from_checkpoint": "lenrl.json in a checkpoint holds all there is to restore",
    "enable_jit_checkpoint": "lenrl writes a checkpoint at SIGTERM; this would take its place as the signal's handler",
    "push_to_hub": "it uploads the run's whole folder, completions and logs too; `hub.push=true hub.repo=OWNER/NAME` "
    "the best weights, their card and the report, and so does `LenrlTrainer.push_to_hub()`",
    "hub_model_id": "set `hub.push` and `hub.repo`",
    "hub_strategy": "set `hub.push` and `hub.repo`",
    "hub_always_push": "set `hub.push` and `hub.repo`",
    "hub_revision": "set `hub.push` and `hub.repo`",
    "log_completions_hub_repo": "lenrl writes its own `completions/` and uploads none",
    "log_unique_prompts": "lenrl writes its own `completions/`; set `logging.completions`",
    "num_completions_to_print": "lenrl prints none; `completions/` has them",
    "deepspeed": "set `launch=zero2` or `launch=zero3`",
    "fsdp": "set `launch=fsdp2`",
    "fsdp_config": "set `launch=fsdp2`, and its fields by `launch.fsdp_config`",
    "accelerator_config": "set `launch=...`, and its fields by `launch.FIELD`",
    "parallelism_config": "set `launch.parallelism_config`",
    "num_train_epochs": "set `trainer.max_steps`, which every recipe has and which goes before it",
    "train_sampling_strategy": "the order of the prompts is the seed's, or the `sampling` slot's",
    "length_column_name": "only `train_sampling_strategy` reads it, which is not a recipe's to set",
    "label_smoothing_factor": "the losses of GRPO have no labels to smooth",
    "do_train": "`lenrl train` trains, always; transformers does not read it",
    "do_predict": "the test problems are answered at the end (`task.test`); transformers does not read it",
    "prediction_loss_only": "an evaluation samples answers and has no loss",
}


def _among(known: Iterable[Any]) -> Any:
    names = [member.value if isinstance(member, Enum) else member for member in known]

    def check(value: str) -> str:
        if value not in names:
            hint = did_you_mean(value, names) or f" There are {', '.join(names)}."
            raise ValueError(f"transformers has none of that name.{hint}")
        return value

    return Annotated[str, AfterValidator(check)]


LARGEST = 2**31 - 1  # a whole number
COUNT: Any = Annotated[int, Field(ge=1, le=LARGEST)]
_WHOLE: Any = Annotated[int, Field(ge=0, le=LARGEST)]
EVERY = _WHOLE | None  # optimizer steps; 0: never
SHARE = Annotated[float, Field(ge=0, lt=1)]
REQUIRED = ("max_steps", "max_completion_length")
BOUNDS: dict[str, Any] = {  # of TRL's fields, where its type says too little
    "generation_batch_size": COUNT | None,
    "per_device_train_batch_size": COUNT | None,  # None, here and below: chosen for the model
    "gradient_accumulation_steps": COUNT | None,
    "steps_per_generation": COUNT | None,
    "num_iterations": COUNT,
    "num_generations": Annotated[int, Field(le=LARGEST)],  # at least 2: see the batch arithmetic
    "max_completion_length": COUNT,
    "max_steps": COUNT,
    "save_steps": EVERY,
    "eval_steps": EVERY,
    "save_total_limit": COUNT | None,
    "learning_rate": Annotated[float | None, Field(gt=0)],
    "gradient_checkpointing": bool | None,
    "use_vllm": bool | None,
    "temperature": Annotated[float, Field(gt=0)],
    "top_p": Annotated[float, Field(gt=0, le=1)],
    "adam_beta1": SHARE,
    "adam_beta2": SHARE,
    "min_p": Annotated[float | None, Field(ge=0, le=1)],
    "repetition_penalty": Annotated[float, Field(gt=0)],
    "ref_model_sync_steps": COUNT,
    "cache_implementation": _among((*ALL_CACHE_IMPLEMENTATIONS, "paged")) | None,
    "save_strategy": _among(SaveStrategy),
    "optim_args": Annotated[str | None, Field(pattern=r"^[^=,]+=[^=,]*(,[^=,]+=[^=,]*)*$")],
    "lr_scheduler_type": _among(SchedulerType),
    "optim": _among(OptimizerNames),
    "loss_type": Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"],
    "importance_sampling_level": Literal["token", "sequence"],
    "auto_find_batch_size": Literal[False],
}


def value_of(trainer: Mapping[str, Any], name: str) -> Any:
    """A field of the recipe's, or else TRL's default."""
    value = trainer.get(name)
    return GRPO_FIELDS[name].default if value is None else value


def field_faults(trainer: Mapping[str, Any]) -> list[str]:
    """Fields that are not a recipe's to set, that TRL does not have, or whose value cannot be."""
    faults = [
        f"trainer.{name}={value!r} is not a recipe's to set: {OWNED[name]}."
        for name, value in trainer.items()
        if name in OWNED
    ]
    return [*faults, *faults_of(trainer_fields(), trainer, "trainer", "TRL's GRPOConfig")]


def faults_of(model: type[BaseModel], values: Mapping[str, Any], prefix: str, owner: str) -> list[str]:
    """Faults of values under `prefix` of a recipe; `model`: made by `checker`; `owner` has the fields."""
    try:
        model.model_validate({name: value for name, value in values.items() if name not in OWNED})
    except ValidationError as fault:
        return [explain(fault, model, prefix, owner, "Give it a value, as recipes/base.yaml does")]
    return []


@cache
def trainer_fields() -> type[BaseModel]:
    """GRPOConfig's fields with their types and what lenrl knows of their bounds."""
    hints = {name: hint for name, hint in get_type_hints(GRPOConfig).items() if name in GRPO_FIELDS}
    return checker("trainer", {name: hint for name, hint in hints.items() if name not in OWNED}, BOUNDS)


def checker(name: str, hints: Mapping[str, Any], bounds: Mapping[str, Any]) -> type[BaseModel]:
    """A pydantic class that checks values against a data class's hints: no conversions, nothing negative."""
    fields: dict[str, Any] = {}
    for key, hint in hints.items():
        plain = not re.search(r"\b(accelerate|peft|transformers)\.", str(hint))
        bounded = bounds.get(key, hint if plain else Any)
        if bounded in (int, float, int | None, float | None):
            whole = bounded in (int, int | None)
            bounded = Annotated[bounded, Field(ge=0, le=LARGEST) if whole else Field(ge=0)]
        fields[key] = (bounded, ... if key in REQUIRED else None)
    settings = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    return create_model(name, __config__=settings, **fields)
