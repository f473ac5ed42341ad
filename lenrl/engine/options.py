"""Which of TRL's options a recipe may set, the batch arithmetic, and what else is known before a model loads."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from trl.trainer.grpo_config import GRPOConfig

from lenrl import tasks
from lenrl.config import Recipe
from lenrl.errors import BadInput
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
    task = tasks.build(recipe.task)
    verifier = _verifier(recipe.verifier)
    method = recipe.method
    setting = Setting(
        num_generations=arithmetic.num_generations,
        max_length=int(_value(trainer, "max_completion_length")),
        max_steps=int(trainer.get("max_steps", -1)),
        updates_per_rollout=arithmetic.updates_per_rollout,
        scaled_by_group_std=method.advantage.scales_by_group_std,
        reward_name=method.reward.name,
    )
    if not faults:
        faults += method.errors(setting) + _seam_faults(recipe, trainer, arithmetic)
    if setting.max_steps is None or setting.max_steps < 1:
        faults.append(
            f"trainer.max_steps={trainer.get('max_steps')}: runs end after a number of optimizer steps. "
            "Set it to 1 or more."
        )
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
    evaluates = bool(eval_steps) and prepared.task.dev != 0
    fields.setdefault("bf16", cuda and recipe.model.dtype == "bfloat16")
    fields.setdefault("save_strategy", "steps" if fields.get("save_steps") else "no")
    fields.setdefault("metric_for_best_model", "eval_aes" if evaluates else None)
    fields.setdefault("greater_is_better", True)
    fields.setdefault("dataloader_pin_memory", cuda)
    if not evaluates:
        fields["metric_for_best_model"] = None
    model_kwargs: dict[str, Any] = {"dtype": recipe.model.dtype}
    if recipe.model.attn_implementation:
        model_kwargs["attn_implementation"] = recipe.model.attn_implementation
    if recipe.model.revision:
        model_kwargs["revision"] = recipe.model.revision
    return GRPOConfig(
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
        **fields,
    )


def peft_config(fields: Mapping[str, Any] | None) -> Any:
    """`model.peft` as a `peft.LoraConfig`; None: all weights are trained.

    Raises:
        BadInput: a field that LoraConfig does not have.
    """
    if fields is None:
        return None
    from peft import LoraConfig

    known = {f.name for f in dataclasses.fields(LoraConfig)}
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean model.peft.{near[0]}?" if near else ""
            raise BadInput(f"model.peft.{name}={fields[name]!r}: LoraConfig has no such field.{hint}")
    return LoraConfig(**{"task_type": "CAUSAL_LM", **fields})


def _verifier(spec: Mapping[str, Any]) -> VerifierSettings:
    try:
        return VerifierSettings(**spec)
    except ValidationError as fault:
        lines = []
        for error in fault.errors():
            key = ".".join(str(part) for part in error["loc"])
            near = difflib.get_close_matches(key, VerifierSettings.model_fields, 1)
            hint = f" Did you mean verifier.{near[0]}?" if error["type"] == "extra_forbidden" and near else ""
            lines.append(f"verifier.{key}={error['input']!r}: {error['msg']}.{hint}")
        raise BadInput("\n".join(lines)) from None


def _value(trainer: Mapping[str, Any], name: str) -> Any:
    value = trainer.get(name)
    return GRPO_FIELDS[name].default if value is None else value


def _field_faults(trainer: Mapping[str, Any]) -> list[str]:
    faults = []
    for name, value in trainer.items():
        if name in OWNED:
            faults.append(f"trainer.{name}={value!r} is not a recipe's to set: {OWNED[name]}.")
        elif name not in GRPO_FIELDS:
            near = difflib.get_close_matches(name, [n for n in GRPO_FIELDS if n not in OWNED], 1)
            hint = f" Did you mean trainer.{near[0]}?" if near else ""
            faults.append(f"trainer.{name}={value!r}: TRL's GRPOConfig has no such field.{hint}")
        elif isinstance(value, float) and not math.isfinite(value):
            faults.append(f"trainer.{name}={value!r} is not finite. Give a number.")
        elif (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and value < 0
            and name != "max_steps"
        ):
            faults.append(f"trainer.{name}={value!r} is negative. Give 0 or more.")
    for name in ("max_completion_length", "per_device_train_batch_size", "gradient_accumulation_steps"):
        if name in trainer and (not isinstance(trainer[name], int) or trainer[name] < 1):
            faults.append(f"trainer.{name}={trainer[name]!r}: needs a whole number of at least 1.")
    return faults


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
    if a.num_generations < 2:
        return [
            f"trainer.num_generations={a.num_generations}: a group needs at least 2 completions, since an "
            "advantage compares them. Set 8, or 2 at the least."
        ]
    faults = []
    rows = a.rows_per_rollout
    if rows % a.num_generations:
        step = a.rows_per_process * a.processes * a.steps_per_generation
        good = [g for g in range(2, step + 1) if step % g == 0]
        near = sorted(sorted(good, key=lambda g: abs(g - a.num_generations))[:2])
        unit = a.num_generations // math.gcd(a.num_generations, a.processes * a.steps_per_generation)
        below = max(unit, a.rows_per_process // unit * unit)
        sizes = sorted({below, below + unit})
        faults.append(
            f"a rollout has {a.rows_per_process} rows a process x {a.processes} processes x "
            f"{a.steps_per_generation} micro-batches = {rows} rows, which {a.num_generations} completions a prompt "
            f"do not divide. Set trainer.num_generations to one of {near}, or "
            f"trainer.per_device_train_batch_size to one of {sizes}."
        )
    long, short = (
        max(a.accumulation, a.micro_steps_per_rollout),
        min(a.accumulation, a.micro_steps_per_rollout),
    )
    if long % short:
        faults.append(
            f"a rollout lasts {a.steps_per_generation} x {a.num_iterations} iterations = {a.micro_steps_per_rollout} "
            f"micro-batches and an optimizer step {a.accumulation}: neither is a multiple of the other, so steps "
            f"would straddle rollouts. Set trainer.steps_per_generation to "
            f"{a.accumulation * max(1, round(a.steps_per_generation / a.accumulation))}."
        )
    return faults


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
