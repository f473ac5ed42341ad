"""TRL's arguments as the recipe that they amount to, and its configuration as lenrl needs it."""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from lenrl.config import Recipe, compose
from lenrl.config.difference import ADDRESSES
from lenrl.config.validation import checked
from lenrl.errors import BadInput
from lenrl.strategies.method import Method
from lenrl.tasks import Task
from lenrl.training.grpo_config import GRPOConfig
from lenrl.training.trl_fields import BOUNDS, GRPO_FIELDS, OWNED, field_faults

Config = Any  # GRPOConfig, whose annotations call optional what TRL has filled in

REFUSED = (
    "data_seed", "chat_template_kwargs", "generation_kwargs", "dataloader_num_workers", "ignore_data_skip",
    "save_only_model", "save_on_each_node", "restore_callback_states_from_checkpoint",
    "multi_objective_aggregation", "enable_jit_checkpoint", "push_to_hub", "log_completions_hub_repo",
    "train_sampling_strategy", "label_smoothing_factor",
)  # fmt: skip
"""Fields of GRPOConfig that must keep TRL's default, for the reason that `OWNED` gives."""
UNUSED = {  # arguments of TRL's GRPOTrainer that cannot work here, and why
    "tools": "a completion with tool calls holds tokens that the model has not written, which lengths, budgets and "
    "cuts would count as its own",
    "rollout_func": "budgets, caps and cuts belong to the sampling, which it would take over",
    "environment_factory": "its prompts and rewards are in no data set, so that no verdict could be checked or resumed",
    "reward_processing_classes": "it is for reward models; reward_funcs are functions",
}
EXPERIMENT = (
    "max_steps", "learning_rate", "warmup_steps", "per_device_train_batch_size", "save_steps", "eval_steps",
    "num_generations", "max_completion_length", "gradient_accumulation_steps",
)  # fmt: skip
"""Fields that a recipe sets for its model and machine rather than for its method."""
MACHINE = ("use_cpu", "bf16", "fp16")  # without them TRL's defaults are refused on some machines
NEWER = "activation_checkpointing"
CHECKPOINTING: dict[str, Any] = (
    {NEWER: GRPO_FIELDS["gradient_checkpointing"].default} if NEWER in GRPO_FIELDS else {}
)
"""TRL's own default under the name that transformers has for it now: of the former one it warns."""
PLACES = ("hub_private_repo", "log_level", "logging_dir", "disable_tqdm")


def default_config(model: Any) -> GRPOConfig:
    """TRL's configuration of a script that gives none, on a machine without a GPU too."""
    name = str(getattr(model, "name_or_path", model)).split("/")[-1]
    if torch.cuda.is_available():
        return GRPOConfig(f"{name}-GRPO", **CHECKPOINTING)
    return GRPOConfig(f"{name}-GRPO", use_cpu=True, bf16=False, **CHECKPOINTING)


def refuse(**given: Any) -> None:
    """Refuse arguments of TRL's trainer that cannot work with groups and verdicts.

    Raises:
        BadInput: with the reason.
    """
    for name, value in given.items():
        if value:
            raise BadInput(f"{name}=... does not work in LenrlTrainer: {UNUSED[name]}. Leave it out.")


def settled(args: Config, rows: int, evaluated: Sequence[str]) -> Config:
    """A copy of TRL's configuration with the fields that lenrl decides: steps, logs, evaluations.

    Args:
        evaluated: names of the data sets to evaluate on; one that is alone has none, ''.

    Raises:
        BadInput: a field of `REFUSED` has another value than TRL's default.
    """
    for name in REFUSED:
        value = getattr(args, name)
        if value not in (GRPO_FIELDS[name].default, args.seed if name == "data_seed" else None, None):
            raise BadInput(
                f"args.{name}={value!r} does not work in LenrlTrainer: {OWNED[name]}. Leave it out."
            )
    args = copy.copy(args)
    args.max_steps = optimizer_steps(args, rows)
    args.logging_steps, args.logging_strategy = 1, _same(args, "logging_strategy")
    args.logging_nan_inf_filter = False
    args.remove_unused_columns = args.log_completions = False
    args.disable_tqdm = True  # lenrl has a bar of its own
    args.reward_weights, args.num_generations_eval = None, 1
    args.eval_on_start = bool(evaluated) and str(_plain(args.eval_strategy)) != "no"
    chosen = args.metric_for_best_model not in (None, "loss")  # the latter is transformers' own choice
    if args.eval_on_start and not chosen:
        best = f"eval_{evaluated[0]}_aes" if evaluated[0] else "eval_aes"
        args.metric_for_best_model, args.greater_is_better = best, True
    return args


def _same(args: Config, name: str) -> Any:
    """`steps` in the type that the field has."""
    return type(getattr(args, name))("steps")


def optimizer_steps(args: Config, rows: int) -> int:
    """Optimizer steps of a run: `max_steps`, or `num_train_epochs` passes over `rows` rows, as transformers counts.

    Raises:
        BadInput: fewer rows than the prompts of a rollout.
    """
    if args.max_steps > 0:
        return args.max_steps
    assert args.steps_per_generation is not None
    prompts = (
        args.per_device_train_batch_size * args.world_size * args.steps_per_generation // args.num_generations
    )
    if rows < prompts or not prompts:
        raise BadInput(
            f"train_dataset has {rows} rows, a rollout takes {prompts} prompts (per_device_train_batch_size x "
            "processes x steps_per_generation / num_generations). Give more rows, or lower one of these."
        )
    micro_steps = rows // prompts * args.steps_per_generation * args.num_iterations
    return math.ceil(args.num_train_epochs * math.ceil(micro_steps / args.gradient_accumulation_steps))


def recipe_of(
    args: Config,
    *,
    name: str,
    method: Method,
    task: Task,
    model: Mapping[str, Any],
    verifier: Mapping[str, Any],
    guard: Mapping[str, Any],
    plugins: Mapping[str, str],
    resume_with_changes: bool,
) -> Recipe:
    """The recipe that a script's arguments amount to: what is written down, and what a resumed run must agree with.

    Args:
        guard: settings that differ from the defaults.
        plugins: hashes of plug-in files by name.
        resume_with_changes: a run whose arguments differ is continued.

    Raises:
        BadInput: a setting that no recipe can have.
    """
    base = compose("grpo").resolved()
    known = ("wandb", "trackio", "tensorboard", "mlflow")
    own = {
        "recipe": name,
        "model": {**base["model"], **model},
        "task": task.model_dump(mode="json"),
        "verifier": dict(verifier),
        **method.slots,
        "trainer": trainer_fields(args),
        "update": {**base["update"], "eval_batch_size": args.per_device_eval_batch_size},
        "guard": _merged(base["guard"], guard),
        "logging": {
            **base["logging"],
            "report_to": [tracker for tracker in args.report_to or () if tracker in known],
            "project": args.project,
        },
        "launch": {
            "num_processes": args.world_size,
            "distributed_type": args.distributed_state.distributed_type.value,
        },
        "plugins": dict(plugins),
        "seed": args.seed,
        "output_dir": str(args.output_dir),
        "name": None,
        "resume_with_changes": resume_with_changes,
    }
    return checked({**base, **own})


def overlooked(trainer: Mapping[str, Any], args: Config) -> list[str]:
    """Fields that a method's recipe sets for it and `args` has otherwise, a sentence each."""
    own = {name: value for name, value in trainer.items() if name not in EXPERIMENT}
    return [
        f"the method's recipe trains with {name}={value!r}, args has {getattr(args, name)!r}: give GRPOConfig({name}="
        f"{value!r}) for its setting"
        for name, value in own.items()
        if getattr(args, name) != value
    ]


def trainer_fields(args: Config) -> dict[str, Any]:
    """The fields of a settled configuration that differ from TRL's, as a recipe's `trainer` has them.

    Raises:
        BadInput: a value out of bounds that TRL lets through.
    """
    machine = {name: getattr(args, name) for name in MACHINE}
    default = {
        **GRPOConfig(str(args.output_dir), **machine, **CHECKPOINTING).to_dict(),
        **dict.fromkeys(MACHINE),
    }
    left_out = {*OWNED, *ADDRESSES, *PLACES}
    fields = {
        name: value
        for name, value in _jsonable(args.to_dict()).items()
        if name in GRPO_FIELDS
        and name not in left_out
        and not name.endswith("token")
        and (value != _jsonable(default.get(name)) or name in BOUNDS)
    }
    fields["save_steps"] = int(args.save_steps) if args.save_steps >= 1 else args.max_steps
    in_steps = _plain(args.eval_strategy) == "steps" and args.eval_steps
    # Otherwise the script decides when.
    fields["eval_steps"] = max(1, int(args.eval_steps)) if in_steps else fields["save_steps"]
    fields = {name: value for name, value in fields.items() if value is not None}
    if faults := field_faults({name: value for name, value in fields.items() if name in BOUNDS}):
        raise BadInput("\n".join(faults))
    return fields


def model_section(
    model: str | PreTrainedModel, args: Config, config: PreTrainedConfig | None, peft_config: Any
) -> dict[str, Any]:
    """A recipe's `model` of what a script gives: a name, or an object with the name that it was loaded by."""
    options = dict(args.model_init_kwargs or {}) if isinstance(model, str) else {}
    if isinstance(model, str):
        path, dtype = model, options.get("dtype") or "float32"
    else:
        path, dtype = model.config.name_or_path or type(model).__name__, model.dtype
    dtype = str(dtype).removeprefix("torch.")
    if dtype == "auto":
        dtype = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
    return {
        "path": path,
        "dtype": dtype,
        "revision": options.get("revision"),
        "attn_implementation": options.get("attn_implementation"),
        "trust_remote_code": bool(args.trust_remote_code),
        "peft": None if peft_config is None else _jsonable(peft_config.to_dict()),
    }


def _jsonable(value: Any) -> Any:
    """Plain JSON of a value that may hold sets and members of enumerations."""
    plain = json.dumps(
        value, default=lambda v: sorted(v) if isinstance(v, set | frozenset) else str(_plain(v))
    )
    return json.loads(plain)


def _plain(value: Any) -> Any:
    """The value of an enumeration's member."""
    return getattr(value, "value", value)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which those of `own` take the place of the base's, inside of records too.

    >>> _merged({"nonfinite": "fail", "collapse": {"action": "stop", "rollouts": 5}}, {"collapse": {"action": "warn"}})
    {'nonfinite': 'fail', 'collapse': {'action': 'warn', 'rollouts': 5}}
    """
    both = {key: (base.get(key), value) for key, value in own.items()}
    return {
        **base,
        **{
            key: {**known, **value} if isinstance(known, Mapping) and isinstance(value, Mapping) else value
            for key, (known, value) in both.items()
        },
    }
