"""Costs of a recipe on its launch: memory a process, operations, hours. Arithmetic; nothing is run or measured.

Upper bounds where they depend on the completions: each is taken to be as long as its cap. Hours are those of the GPU
below at the given shares of its peaks, which is what well-kept engines reach, vLLM for the sampling; other devices
scale with their peaks.
"""

from dataclasses import dataclass
from typing import Any

import torch

from lenrl.measures.format import Figures
from lenrl.training.peft import QUANTIZATION, peft_config
from lenrl.training.prepare import CheckedRun
from lenrl.training.trl_fields import value_of

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
DEVICE = "A100 of 80 GB"
PEAK_FLOPS = 312e12  # a second, bfloat16, dense (NVIDIA's data sheet)
PEAK_BYTES = 2039e9  # a second, of its memory (the same)
REACHED_FLOPS = 0.4  # assumed
REACHED_BYTES = 0.5  # assumed
# Bytes a token and a unit of width that a layer keeps for its backward pass in 16 bit, without attention scores,
# which fused kernels do not keep: arXiv 2205.05198, section 4.1.
LAYER_BYTES = 34


@dataclass(frozen=True)
class Shape:
    """Sizes in a model's configuration from which its costs follow."""

    parameters: int
    trained: int  # all, or those of the adapter
    layers: int
    width: int
    heads: int  # of keys and values
    head_dim: int
    vocabulary: int


def shape(config: Any, peft: dict[str, object] | None = None) -> Shape:
    """The shape of a model, built without memory for its weights.

    Args:
        config: of transformers.
        peft: the recipe's `model.peft`.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
        count = sum(p.numel() for p in model.parameters())
        trained = count
        adapter = peft_config(peft)
        if adapter is not None:
            from peft import get_peft_model

            wrapped: Any = get_peft_model(model, adapter)
            trained = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    text = config.get_text_config()
    return Shape(
        parameters=count,
        trained=trained,
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        heads=getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        vocabulary=text.vocab_size,
    )


def estimate(of: Shape, checked_run: CheckedRun) -> Figures:
    """Sizes in GiB a process, operations of the whole run, hours; None: cannot be said.

    `memory_gib` is the sum of what is held always (weights, gradients, Adam, a reference) and the greater of what
    sampling (keys and values) and the update (activations, logits) take in turn. Beside it stand CUDA's own
    workspaces and fragments, some GiB.
    """
    recipe, layout, tokens = checked_run.recipe, checked_run.layout, checked_run.run_info.max_length
    size = BYTES[recipe.model.dtype]
    states, reference = _states(of, checked_run, size)
    vllm = bool(value_of(recipe.trainer, "use_vllm"))
    rows = layout.rows_per_process
    checkpointed = bool(value_of(recipe.trainer, "gradient_checkpointing"))
    layer = rows * tokens * of.width * size
    activations = layer * (of.layers + LAYER_BYTES / 2 if checkpointed else of.layers * LAYER_BYTES / 2)
    logits = 2 * rows * tokens * of.vocabulary * 4  # in float32, and their gradient
    at_once = rows * layout.steps_per_generation
    row_cache = 2 * of.layers * of.heads * of.head_dim * tokens * size
    cache = None if vllm else at_once * row_cache
    rollouts = -(-(checked_run.run_info.max_steps or 0) // layout.updates_per_rollout)
    operations = _operations(of, checked_run, tokens) * rollouts * layout.rows_per_rollout * tokens
    costs = {
        "processes": layout.processes,
        "weights_gradients_adam_gib": round(states / GIB, 2),
        "reference_gib": round(reference / GIB, 2),
        "activations_gib": round(activations / GIB, 2),
        "logits_gib": round(logits / GIB, 2),
        "key_values_gib": None if cache is None else round(cache / GIB, 2),
        "memory_gib": round((states + reference + max(cache or 0, activations + logits)) / GIB, 2),
        "teraflop_of_updates": round(operations / 1e12, 3),
    }
    if not recipe.launch.get("use_cpu"):
        step = of.parameters * size + at_once * row_cache / 2  # bytes read for one token of each row
        sampling = rollouts * tokens * step / (PEAK_BYTES * REACHED_BYTES)
        updates = operations / layout.processes / (PEAK_FLOPS * REACHED_FLOPS)
        costs |= {
            "device_assumed": DEVICE,
            "hours_updates_at_most": round(updates / 3600, 2),
            "hours_sampling_at_most": round(sampling / 3600, 2),
        }
    return costs


def checkpoint_bytes(of: Shape, checked_run: CheckedRun) -> int:
    """Of one checkpoint: what is trained, its two moments, and float32 weights where a sharded engine holds them."""
    size = BYTES[checked_run.recipe.model.dtype]
    launch = checked_run.recipe.launch
    aside = size == 2 and (launch.get("deepspeed_config") or launch.get("fsdp_config"))
    return of.trained * (size + 12 if aside else 3 * size)


def _states(of: Shape, checked_run: CheckedRun, size: int) -> tuple[float, float]:
    """Bytes a process of weights, gradients and Adam's moments, and of the reference."""
    launch, trainer, peft = (
        checked_run.recipe.launch,
        checked_run.recipe.trainer,
        checked_run.recipe.model.peft,
    )
    processes = checked_run.layout.processes
    stage = (launch.get("deepspeed_config") or {}).get("zero_stage")
    sharded = stage == 3 or bool(launch.get("fsdp_config"))
    master = 16 if size == 2 else 4 * size  # 16 bit beside float32 weights and moments, or everything in one
    if sharded:
        trained = master / processes
    elif stage == 2:
        trained = size + (master - size) / processes
    else:
        trained = 4 * size  # all of it in the weights' precision
    of_base = 1 / processes if sharded else 1
    frozen = of.parameters - of.trained if peft else 0
    quantized = (peft or {}).get(QUANTIZATION) or {}
    each = 0.5 if quantized.get("load_in_4bit") else 1 if quantized.get("load_in_8bit") else size
    needed = not peft and float(value_of(trainer, "beta") or 0) > 0
    return of.trained * trained + max(0, frozen) * each * of_base, of.parameters * size * of_base * needed


def _operations(of: Shape, checked_run: CheckedRun, tokens: int) -> float:
    """Floating-point operations that the updates make of one token."""
    trainer, layout = checked_run.recipe.trainer, checked_run.layout
    forward = 2 * of.parameters + 2 * of.layers * of.width * tokens  # attention sees half the row on average
    passes = 2 if checked_run.recipe.model.peft else 3  # a backward pass is two, or one where weights stay
    passes += bool(value_of(trainer, "gradient_checkpointing"))
    passes *= layout.num_iterations
    old = layout.updates_per_rollout > 1 or bool(value_of(trainer, "use_vllm"))  # log-probs before the update
    return forward * (passes + old + (float(value_of(trainer, "beta") or 0) > 0))
