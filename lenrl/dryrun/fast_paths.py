"""Fast paths that a launch takes, and why not the others."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedConfig

from lenrl.config import Recipe
from lenrl.generation.sampling import sampler_rule
from lenrl.training.hardware import Machine, attention, mixed_precision, this_machine
from lenrl.training.lean import every_row_reason, whole_batch_reason
from lenrl.training.peft import QUANTIZATION
from lenrl.training.trl_fields import value_of


@dataclass(frozen=True)
class FastPath:
    """One way to the same result in less time."""

    taken: bool
    reason: str

    def __str__(self) -> str:
        return f"{'yes' if self.taken else 'no'}: {self.reason}"


def fast_paths(
    recipe: Recipe, config: PreTrainedConfig | None, machine: Machine | None = None
) -> dict[str, FastPath]:
    """Fast paths of a launch by name, on this machine or another.

    Args:
        config: the model's; None: it is not known.
        machine: where the launch would run.
    """
    machine = machine or this_machine()
    precision, reason = mixed_precision(recipe, machine)
    paths = {
        "bf16": _bf16(recipe, precision, reason),
        "attention": _attention(recipe, config, precision, machine),
    }
    paths |= _update(recipe, config)
    paths |= _sampling(recipe, config)
    paths["vllm"] = _vllm(recipe, machine)
    recomputes = bool(value_of(recipe.trainer, "gradient_checkpointing"))
    words = {
        True: "trainer.gradient_checkpointing=true computes each forward pass twice to save memory",
        False: "trainer.gradient_checkpointing=false",
    }
    return {**paths, "no_recomputation": FastPath(not recomputes, words[recomputes])}


def _bf16(recipe: Recipe, precision: str, reason: str) -> FastPath:
    """Forward and backward in bfloat16, and what holds the weights that Adam moves."""
    if recipe.model.dtype != "bfloat16":
        weights = f"weights in {recipe.model.dtype}"
        return FastPath(precision == "bf16", f"{reason}, {weights}" if precision == "bf16" else reason)
    sharded = recipe.launch.get("deepspeed_config") or recipe.launch.get("fsdp_config")
    if precision != "bf16":  # what the launch is meant for, where this machine has no such GPU
        precision, reason = mixed_precision(recipe, Machine(gpus=1, bfloat16=True))
    if recipe.model.peft and QUANTIZATION not in recipe.model.peft and not sharded:
        return FastPath(True, "model.dtype=bfloat16, adapters in float32")
    if sharded and precision == "bf16":
        return FastPath(True, f"{reason}, float32 weights beside the bfloat16 ones")
    return FastPath(
        True,
        "model.dtype=bfloat16; Adam moves weights that have 8 bits, so that steps below 1/512 of one are lost. "
        "model.dtype=float32 keeps them, and GPUs compute in launch.mixed_precision all the same",
    )


def _attention(recipe: Recipe, config: PreTrainedConfig | None, precision: str, machine: Machine) -> FastPath:
    if config is None:
        return FastPath(False, "the model's configuration is not known")
    name, reason = attention(recipe, config, precision, machine)
    fast = name is not None and name not in ("eager", "sdpa")
    return FastPath(fast, f"{name or 'sdpa where the model has it'}, {reason}")


def _update(recipe: Recipe, config: PreTrainedConfig | None) -> dict[str, FastPath]:
    """Parts of the lean update: padding between rows of different lengths left out, and rows without an advantage."""
    if not recipe.update.lean:
        off = FastPath(False, "update.lean=false")
        return {"chunks_by_length": off, "rows_with_advantage_only": off}
    whole = "the model's configuration is not known"
    if config is not None:
        text, own = config.get_text_config(), recipe.trainer.get("router_aux_loss_coef")
        coefficient = getattr(text, "router_aux_loss_coef", 0.0) if own is None else own
        whole = whole_batch_reason(config, hasattr(text, "output_router_logits") and coefficient != 0)
    rows = whole or every_row_reason(recipe.objective, partial(value_of, recipe.trainer))
    return {
        "chunks_by_length": FastPath(whole is None, whole or "update.lean=true"),
        "rows_with_advantage_only": FastPath(rows is None, rows or "update.lean=true"),
    }


def _sampling(recipe: Recipe, config: PreTrainedConfig | None) -> dict[str, FastPath]:
    """lenrl's sampler, where rows that have ended leave, and verification of those while others are sampled."""
    reason = _no_sampler(recipe, config)
    path = FastPath(reason is None, reason or "this model's cache can be divided by rows")
    return {"own_sampler": path, "verification_beside_sampling": path}


def _no_sampler(recipe: Recipe, config: PreTrainedConfig | None) -> str | None:
    """A reason why rollouts are not sampled by lenrl's sampler; None: they are."""
    for name in ("use_vllm", "use_transformers_continuous_batching"):
        if value_of(recipe.trainer, name):
            return f"trainer.{name}=true"
    stage = (recipe.launch.get("deepspeed_config") or {}).get("zero_stage")
    if stage == 3 or recipe.launch.get("fsdp_config"):
        return (
            "launch shards the weights, so that its processes must take as many forward passes as each other"
        )
    if config is None:
        return "the model's configuration is not known"
    fields = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "cache_implementation")
    generation = {name: value_of(recipe.trainer, name) for name in fields}
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    rule = sampler_rule(model, GenerationConfig(do_sample=True, **generation))
    return rule if isinstance(rule, str) else None


def _vllm(recipe: Recipe, machine: Machine) -> FastPath:
    if not value_of(recipe.trainer, "use_vllm"):
        hint = "; trainer.use_vllm=true samples with the one installed here" if machine.vllm else ""
        return FastPath(False, f"trainer.use_vllm=false{hint}")
    if not machine.vllm:
        return FastPath(False, "trainer.use_vllm=true, and vLLM is not installed: training will not start")
    mode = value_of(recipe.trainer, "vllm_mode")
    own = mode == "colocate" and value_of(recipe.trainer, "vllm_tensor_parallel_size") == 1
    caps = "each row with its own cap" if own else "one cap for a rollout, the largest"
    return FastPath(True, f"trainer.vllm_mode={mode}, {caps}")
