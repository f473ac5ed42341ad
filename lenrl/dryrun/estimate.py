"""Costs of a recipe on its launch: memory a process, operations, hours. Arithmetic; nothing is run or measured.

Upper bounds where they depend on the completions: each is taken to be as long as its cap. Hours are those of the GPU
below at the given shares of its peaks, which is what well-kept engines reach, vLLM for the sampling; other devices
scale with their peaks.
"""

from lenrl.measures.format import Figures
from lenrl.training.prepare import CheckedRun
from lenrl.training.sizes import BYTES, GIB, Shape, held_bytes
from lenrl.training.trl_fields import value_of

DEVICE = "A100 of 80 GB"
PEAK_FLOPS = 312e12  # a second, bfloat16, dense (NVIDIA's data sheet)
PEAK_BYTES = 2039e9  # a second, of its memory (the same)
REACHED_FLOPS = 0.4  # assumed
REACHED_BYTES = 0.5  # assumed


def estimate(of: Shape, checked_run: CheckedRun) -> Figures:
    """Sizes in GiB a process, operations of the whole run, hours; None: cannot be said.

    `memory_gib` is the sum of what is held always (weights, gradients, Adam, a reference or teacher) and the greater of
    what sampling (keys and values) and the update (activations, logits) take in turn. Beside it stand CUDA's own
    workspaces and fragments, some GiB.
    """
    recipe, layout, tokens = checked_run.recipe, checked_run.layout, checked_run.run_info.max_length
    size = BYTES[recipe.model.dtype]
    beta = float(value_of(recipe.trainer, "beta") or 0)
    peft, dtype = recipe.model.peft, recipe.model.dtype
    teacher = recipe.method.keeps_teacher(adapters=bool(peft))
    states, reference = held_bytes(
        of, recipe.launch, dtype, peft, processes=layout.processes, beta=beta, teacher=teacher
    )
    vllm = bool(value_of(recipe.trainer, "use_vllm"))
    rows = layout.rows_per_process
    checkpointed = bool(value_of(recipe.trainer, "gradient_checkpointing"))
    activations = rows * of.activation_bytes(tokens, size, checkpointed=checkpointed)
    logits = rows * of.logit_bytes(tokens)
    at_once = rows * layout.steps_per_generation
    row_cache = of.cache_bytes(tokens, size)
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


def _operations(of: Shape, checked_run: CheckedRun, tokens: int) -> float:
    """Floating-point operations that the updates make of one token."""
    trainer, layout = checked_run.recipe.trainer, checked_run.layout
    forward = 2 * of.parameters + 2 * of.layers * of.width * tokens  # attention sees half the row on average
    passes = 2 if checked_run.recipe.model.peft else 3  # a backward pass is two, or one where weights stay
    passes += bool(value_of(trainer, "gradient_checkpointing"))
    passes *= layout.num_iterations
    old = layout.updates_per_rollout > 1 or bool(value_of(trainer, "use_vllm"))  # log-probs before the update
    others = (float(value_of(trainer, "beta") or 0) > 0) + (
        "teacher_logps" in checked_run.recipe.method.reads
    )
    return forward * (passes + old + others)
