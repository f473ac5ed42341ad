"""Which of TRL's options a recipe may set, the batch arithmetic, and what else is known before a model loads."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from transformers import SchedulerType
from transformers.training_args import OptimizerNames
from trl.trainer.grpo_config import GRPOConfig

from lenrl import tasks
from lenrl.config import ModelSettings, Recipe
from lenrl.engine.data import task_of
from lenrl.errors import BadInput, did_you_mean, explain
from lenrl.models import HUB_ID, find
from lenrl.strategies.base import Setting
from lenrl.verify.settings import VerifierSettings

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
    "generation_batch_size": "set `trainer.steps_per_generation`",
    "use_cpu": "follows from the machine and the launch",
    "logging_nan_inf_filter": "a loss that is not finite ends the run",
    "use_transformers_paged": "deprecated by TRL",
    "vllm_importance_sampling_cap": "deprecated by TRL",
    "dataloader_num_workers": "prompts are prepared in the main process, so that their order is exact",
    "ignore_data_skip": "a resumed run would train on data it has seen",
}


def _among(known: Any) -> Any:
    names = [member.value for member in known]

    def check(value: str) -> str:
        if value not in names:
            hint = did_you_mean(value, names) or f" There are {', '.join(names)}."
            raise ValueError(f"transformers has none of that name.{hint}")
        return value

    return Annotated[str, AfterValidator(check)]


COUNT: Any = Annotated[int, Field(ge=1)]
_WHOLE: Any = Annotated[int, Field(ge=0)]
EVERY = _WHOLE | None  # optimizer steps; 0: never
SHARE = Annotated[float, Field(ge=0, lt=1)]
REQUIRED = ("max_steps", "max_completion_length")
BOUNDS: dict[str, Any] = {  # of TRL's fields, where its type says too little
    "per_device_train_batch_size": COUNT,
    "gradient_accumulation_steps": COUNT,
    "steps_per_generation": COUNT | None,
    "num_iterations": COUNT,
    "num_generations": int,  # at least 2: see the batch arithmetic
    "max_completion_length": COUNT,
    "max_steps": COUNT,
    "save_steps": EVERY,
    "eval_steps": EVERY,
    "save_total_limit": COUNT | None,
    "learning_rate": Annotated[float, Field(gt=0)],
    "temperature": Annotated[float, Field(gt=0)],
    "top_p": Annotated[float, Field(gt=0, le=1)],
    "adam_beta1": SHARE,
    "adam_beta2": SHARE,
    "lr_scheduler_type": _among(SchedulerType),
    "optim": _among(OptimizerNames),
    "loss_type": Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"],
    "importance_sampling_level": Literal["token", "sequence"],
    "auto_find_batch_size": Literal[False],
}
PEFT_BOUNDS: dict[str, Any] = {"r": COUNT, "lora_alpha": COUNT, "lora_dropout": SHARE}


@dataclass(frozen=True)
class Arithmetic:
    """How rows, groups, rollouts and optimizer steps fit together."""

    processes: int
    rows_per_process: int  # a micro-batch
    accumulation: int  # micro-batches an optimizer step
    steps_per_generation: int  # micro-batches a rollout
    num_iterations: int
    num_generations: int  # G

    @property
    def rows_per_rollout(self) -> int:
        return self.rows_per_process * self.processes * self.steps_per_generation

    @property
    def prompts_per_rollout(self) -> int:
        return self.rows_per_rollout // self.num_generations

    @property
    def micro_steps_per_rollout(self) -> int:
        return self.steps_per_generation * self.num_iterations

    @property
    def updates_per_rollout(self) -> int:
        """Optimizer steps that reuse one rollout; 1 also where one step spans several rollouts."""
        return max(1, self.micro_steps_per_rollout // self.accumulation)

    @property
    def in_step(self) -> bool:
        """An optimizer step and a rollout begin together: one lasts a multiple of the other."""
        short, long = sorted((self.accumulation, self.micro_steps_per_rollout))
        return long % short == 0

    @property
    def valid(self) -> bool:
        """Whole groups in every rollout, and steps that don't straddle rollouts."""
        return (
            self.num_generations >= 2 and self.rows_per_rollout % self.num_generations == 0 and self.in_step
        )

    @property
    def aligned(self) -> bool:
        """TRL's rule: one update a rollout, so that old and new log-probs agree."""
        return self.accumulation % self.micro_steps_per_rollout == 0


@dataclass(frozen=True)
class Prepared:
    """A recipe that has passed every check that needs no model."""

    recipe: Recipe
    task: tasks.Task
    verifier: VerifierSettings
    grpo: dict[str, Any]  # fields for GRPOConfig
    arithmetic: Arithmetic
    setting: Setting
    warnings: list[str] = field(default_factory=list)

    @property
    def evaluates(self) -> bool:
        """The model is evaluated on development problems during training."""
        return bool(self.grpo.get("eval_steps")) and self.task.dev != 0

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the task that the run uses."""
        used = {"train": True, "dev": self.evaluates, "test": self.task.test != 0}
        return tuple(split for split, is_used in used.items() if is_used)


def prepare(recipe: Recipe, processes: int | None = None) -> Prepared:
    """Check all that can be checked before a model loads.

    Args:
        recipe: the composed recipe.
        processes: processes of the launch; default: the recipe's `launch.num_processes`.

    Raises:
        BadInput: with every fault found, one a line.
    """
    faults: list[str] = []
    trainer = dict(recipe.trainer)
    faults += _field_faults(trainer)
    if faults:
        raise BadInput("\n".join(faults))
    processes = processes or int(recipe.launch.get("num_processes", 1))
    arithmetic = _arithmetic(trainer, processes)
    faults += _batch_faults(arithmetic)
    peft_config(recipe.model.peft)
    faults += _model_faults(recipe.model)
    task = task_of(recipe)
    verifier = VerifierSettings.read(recipe.verifier)
    method = recipe.method
    setting = Setting(
        num_generations=arithmetic.num_generations,
        max_length=trainer["max_completion_length"],
        max_steps=trainer["max_steps"],
        updates_per_rollout=arithmetic.updates_per_rollout,
        scaled_by_group_std=method.advantage.scales_by_group_std,
        reward_name=method.reward.name,
    )
    if not faults:
        faults += method.errors(setting) + _seam_faults(recipe, trainer, arithmetic)
    if method.reads_verdicts and not task.labelled:
        faults.append(_unlabelled(recipe))
    if faults:
        raise BadInput("\n".join(faults))
    warnings = method.warnings(setting)
    return Prepared(recipe, task, verifier, trainer, arithmetic, setting, warnings)


def grpo_config(prepared: Prepared, run_dir: Path) -> GRPOConfig:
    """TRL's configuration of a prepared run."""
    recipe = prepared.recipe
    fields = dict(prepared.grpo)
    cuda = torch.cuda.is_available()
    eval_steps = fields.pop("eval_steps", None)
    evaluates = prepared.evaluates
    fields.setdefault("bf16", cuda and recipe.model.dtype == "bfloat16")
    fields.setdefault("save_strategy", "steps" if fields.get("save_steps") else "no")
    fields.setdefault("metric_for_best_model", "eval_aes")
    fields.setdefault("greater_is_better", True)
    fields.setdefault("dataloader_pin_memory", cuda)
    if not (evaluates and prepared.task.labelled):  # without gold answers no checkpoint is the best
        fields["metric_for_best_model"] = None
    model_kwargs: dict[str, Any] = {"dtype": recipe.model.dtype}
    if recipe.model.attn_implementation:
        model_kwargs["attn_implementation"] = recipe.model.attn_implementation
    if recipe.model.revision:
        model_kwargs["revision"] = recipe.model.revision
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
        model_init_kwargs=model_kwargs,
        trust_remote_code=recipe.model.trust_remote_code,
    )
    try:
        return GRPOConfig(**ours, **fields)
    except (ValueError, TypeError) as fault:  # fields that contradict each other, or this machine
        raise BadInput(f"trainer: TRL refuses these fields: {fault}") from fault


def peft_config(fields: Mapping[str, Any] | None) -> Any:
    """`model.peft` as a `peft.LoraConfig`; None: all weights are trained.

    Raises:
        BadInput: a field that LoraConfig does not have, or a value that it does not take.
    """
    if fields is None:
        return None
    from peft import LoraConfig

    faults = _faults_of(_peft_fields(), fields, "model.peft", "peft's LoraConfig")
    if faults:
        raise BadInput("\n".join(faults))
    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **fields})
    except (ValueError, TypeError) as fault:  # fields that contradict each other
        raise BadInput(f"model.peft={dict(fields)}: peft refuses it: {fault}") from fault


def _model_faults(settings: ModelSettings) -> list[str]:
    """Folders that do not exist; what is on the hub is known when it is asked."""
    faults = []
    try:
        find(settings.path)
    except BadInput as fault:
        faults.append(f"model.path: {fault}.")
    own = settings.tokenizer
    if own is not None and not HUB_ID.fullmatch(own) and not Path(own).expanduser().is_dir():
        faults.append(f"model.tokenizer={own!r}: no such folder. Give a tokenizer's folder or a hub id.")
    return faults


def _unlabelled(recipe: Recipe) -> str:
    readers = [f"{slot} {rule.name!r}" for slot, rule in recipe.method.slots.items() if rule.reads_verdicts]
    return (
        f"task {recipe.task.get('name')!r} has no gold answers (task.answer=null), and {', '.join(readers)} must "
        "know what is correct. Name the column of the answers by task.answer, or choose strategies that "
        "need none, such as reward=surrogate."
    )


def _value(trainer: Mapping[str, Any], name: str) -> Any:
    value = trainer.get(name)
    return GRPO_FIELDS[name].default if value is None else value


def _field_faults(trainer: Mapping[str, Any]) -> list[str]:
    faults = [
        f"trainer.{name}={value!r} is not a recipe's to set: {OWNED[name]}."
        for name, value in trainer.items()
        if name in OWNED
    ]
    return [*faults, *_faults_of(_trainer_fields(), trainer, "trainer", "TRL's GRPOConfig")]


def _faults_of(checker: type[BaseModel], values: Mapping[str, Any], prefix: str, owner: str) -> list[str]:
    try:
        checker.model_validate({name: value for name, value in values.items() if name not in OWNED})
    except ValidationError as fault:
        return [explain(fault, checker, prefix, owner, "Give it a value, as recipes/base.yaml does")]
    return []


@cache
def _trainer_fields() -> type[BaseModel]:
    """GRPOConfig's fields with their types and what lenrl knows of their bounds."""
    hints = {name: hint for name, hint in get_type_hints(GRPOConfig).items() if name in GRPO_FIELDS}
    return _checker("trainer", {name: hint for name, hint in hints.items() if name not in OWNED}, BOUNDS)


@cache
def _peft_fields() -> type[BaseModel]:
    from peft import LoraConfig

    return _checker("peft", get_type_hints(LoraConfig), PEFT_BOUNDS)


def _checker(name: str, hints: Mapping[str, Any], bounds: Mapping[str, Any]) -> type[BaseModel]:
    """A pydantic class that checks values against a data class's hints: no conversions, nothing negative."""
    fields: dict[str, Any] = {}
    for key, hint in hints.items():
        plain = not re.search(r"\b(accelerate|peft|transformers)\.", str(hint))
        bounded = bounds.get(key, hint if plain else Any)
        if bounded in (int, float, int | None, float | None):
            bounded = Annotated[bounded, Field(ge=0)]
        fields[key] = (bounded, ... if key in REQUIRED else None)
    settings = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    return create_model(name, __config__=settings, **fields)


def _arithmetic(trainer: Mapping[str, Any], processes: int) -> Arithmetic:
    accumulation = int(_value(trainer, "gradient_accumulation_steps"))
    return Arithmetic(
        processes=processes,
        rows_per_process=int(_value(trainer, "per_device_train_batch_size")),
        accumulation=accumulation,
        steps_per_generation=int(trainer.get("steps_per_generation") or accumulation),
        num_iterations=int(_value(trainer, "num_iterations")),
        num_generations=int(_value(trainer, "num_generations")),
    )


def _batch_faults(a: Arithmetic) -> list[str]:
    rows = (
        f"a rollout has {a.rows_per_process} rows a process x {a.processes} processes x "
        f"{a.steps_per_generation} micro-batches = {a.rows_per_rollout} rows"
    )
    if a.num_generations < 2:
        near = [g for g in range(2, a.rows_per_rollout + 1) if a.rows_per_rollout % g == 0][:2]
        remedy = f"to {_either(near)}" if near else "to 2, and trainer.per_device_train_batch_size to 2"
        return [
            f"trainer.num_generations={a.num_generations}: a group needs at least 2 completions, since an "
            f"advantage compares them; {rows}. Set trainer.num_generations {remedy}."
        ]
    wrong = []
    tried = {  # what alone would help, up to where the next valid value must be
        "num_generations": ("num_generations", a.rows_per_rollout),
        "per_device_train_batch_size": ("rows_per_process", a.rows_per_process + a.num_generations),
    }
    if a.rows_per_rollout % a.num_generations:
        wrong.append(f"{rows}, which {a.num_generations} completions a prompt do not divide")
    if not a.in_step:
        wrong.append(
            f"a rollout lasts {a.steps_per_generation} x {a.num_iterations} iterations = "
            f"{a.micro_steps_per_rollout} micro-batches and an optimizer step {a.accumulation}: neither is a "
            "multiple of the other, so steps would straddle rollouts"
        )
        most = max(a.accumulation, a.steps_per_generation) * a.num_generations
        tried["steps_per_generation"] = ("steps_per_generation", most)
    if not wrong:
        return []
    found = {key: _nearest_valid(a, *place) for key, place in tried.items()}
    remedies = [f"trainer.{key} to {_either(near)}" for key, near in found.items() if near]
    return [f"{'; '.join(wrong)}. Set {', or '.join(remedies)}."]


def _nearest_valid(a: Arithmetic, field_name: str, most: int) -> list[int]:
    """The two values of a field nearest to its own with which everything divides, in order."""
    now = getattr(a, field_name)
    good = [v for v in range(1, most + 1) if replace(a, **{field_name: v}).valid]
    return sorted(sorted(good, key=lambda v: abs(v - now))[:2])


def _either(values: list[int]) -> str:
    return " or ".join(map(str, values))


def _seam_faults(recipe: Recipe, trainer: Mapping[str, Any], a: Arithmetic) -> list[str]:
    """Options that would do nothing, or fight a strategy."""
    faults = []
    method = recipe.method
    for name in method.objective.refuses:
        if name in trainer and trainer[name] != GRPO_FIELDS[name].default:
            faults.append(
                f"trainer.{name}={trainer[name]!r} does nothing under `objective: {method.objective.name}`, which "
                "replaces TRL's loss. Leave it out, or choose `objective: trl`."
            )
    for entry in method.forbids:
        idle = entry.field.startswith("vllm_") and not trainer.get("use_vllm")
        if not idle and _value(trainer, entry.field) == entry.value:
            faults.append(f"trainer.{entry.field}={entry.value!r}: {entry.why}")
    if recipe.sampling.name != "uniform" and recipe.launch.get("distributed_type") == "DEEPSPEED":
        faults.append(
            f"sampling={recipe.sampling.name!r} may have to leave a step's weights untouched, which DeepSpeed's "
            "optimizer does not allow. Use launch=multi_gpu or launch=fsdp2, or sampling=uniform."
        )
    save = trainer.get("save_steps")
    if isinstance(save, int) and save > 0 and save % a.updates_per_rollout:
        up = math.ceil(save / a.updates_per_rollout) * a.updates_per_rollout
        faults.append(
            f"trainer.save_steps={save}: a rollout is used for {a.updates_per_rollout} optimizer steps, and a "
            f"checkpoint inside it could not be resumed exactly. Set a multiple of it, for example {up}."
        )
    if trainer.get("gradient_checkpointing") and recipe.model.peft and trainer.get("use_cache"):
        faults.append(
            "trainer.use_cache=true contradicts trainer.gradient_checkpointing=true. Leave one out."
        )
    return faults
