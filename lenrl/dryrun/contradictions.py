"""Settings that torch, accelerate, TRL or vLLM refuse together, which they say only after a run's slow start."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.optimization import get_scheduler

from lenrl.config import Recipe
from lenrl.errors import did_you_mean
from lenrl.training.hardware import HALF, asks_for_gpus
from lenrl.training.peft import QUANTIZATION
from lenrl.training.prepare import CheckedRun
from lenrl.training.trl_fields import value_of

FLASH = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}  # packages
VLLM_MODES = ("colocate", "server")
TRUNCATES = ("token_truncate", "token_mask")  # what TRL's loss `vespo` needs of vLLM's correction


def contradictions(checked_run: CheckedRun) -> Iterator[str]:
    """Every one, with what to set instead."""
    recipe = checked_run.recipe
    yield from _precision(recipe)
    yield from _attention(recipe)
    yield from _schedule(recipe)
    yield from _checkpointing(recipe)
    if value_of(recipe.trainer, "use_vllm"):
        yield from _vllm(recipe, checked_run.layout.processes)
    yield from _reference(recipe)
    yield from _adapter(recipe)


def _precision(recipe: Recipe) -> Iterator[str]:
    """Weights in one kind of 16 bit and computed in the other; or in float16, whose gradients torch can't scale.

    A float32 model under DeepSpeed is neither: since 0.19.8 it computes in the launch's precision all the same.
    """
    asked, dtype = str(recipe.launch.get("mixed_precision")), recipe.model.dtype
    if dtype == {"bf16": "float16", "fp16": "bfloat16"}.get(asked):
        yield (
            f"model.dtype={dtype} and launch.mixed_precision={asked} are two kinds of 16 bit: set model.dtype="
            f"{'bfloat16' if asked == 'bf16' else 'float16'}, or float32."
        )
    sharded = recipe.launch.get("deepspeed_config") or recipe.launch.get("fsdp_config")
    if asked == "fp16" and dtype == "float16" and not sharded and not recipe.model.peft:
        yield (
            "model.dtype=float16 and launch.mixed_precision=fp16: gradients in float16 are scaled, which torch refuses "
            "where the weights are in float16 too. Set model.dtype=float32: passes compute in float16 all the same."
        )


def _attention(recipe: Recipe) -> Iterator[str]:
    name = recipe.model.attn_implementation
    known = sorted({"eager", *ALL_ATTENTION_FUNCTIONS})
    if name is not None and "/" not in name and name not in known:  # with a / it is a kernel on the hub
        yield (
            f"model.attn_implementation={name!r}: transformers has none of that name."
            f"{did_you_mean(name, known, 'model.attn_implementation={}')} There are {', '.join(known)}; null takes "
            "what is fast here."
        )
    if name not in FLASH:
        return
    half = recipe.model.dtype != "float32" or recipe.launch.get("mixed_precision") in HALF
    if not asks_for_gpus(recipe.launch):
        yield (
            f"model.attn_implementation={name} runs on GPUs, and this launch is for the CPU: set "
            "model.attn_implementation=null, which takes what there is, or launch=single_gpu."
        )
    elif not half:
        yield (
            f"model.attn_implementation={name} computes in 16 bit only, and model.dtype=float32 with launch."
            "mixed_precision=no in float32: set launch.mixed_precision=bf16, or model.attn_implementation=null."
        )


def _schedule(recipe: Recipe) -> Iterator[str]:
    """Options that the schedule of the learning rate does not have, or lacks: it is made here, for nothing."""
    name, options = (value_of(recipe.trainer, f"lr_scheduler_{part}") for part in ("type", "kwargs"))
    if isinstance(options, str):  # JSON, which transformers reads
        return
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=recipe.trainer["learning_rate"])
    try:
        get_scheduler(name, optimizer, 0, recipe.trainer["max_steps"], dict(options or {}))
    except (TypeError, ValueError) as fault:
        yield f"trainer.lr_scheduler_kwargs={options} do not fit trainer.lr_scheduler_type={name}: {fault}."


def _checkpointing(recipe: Recipe) -> Iterator[str]:
    fsdp: Mapping[str, Any] = recipe.launch.get("fsdp_config") or {}
    if fsdp.get("fsdp_activation_checkpointing") and value_of(recipe.trainer, "gradient_checkpointing"):
        yield (
            "trainer.gradient_checkpointing=true and launch.fsdp_config.fsdp_activation_checkpointing=true do the same "
            "thing twice, which transformers refuses: set one of them to false."
        )


def _vllm(recipe: Recipe, processes: int) -> Iterator[str]:
    trainer, mode = recipe.trainer, value_of(recipe.trainer, "vllm_mode")
    if mode not in VLLM_MODES:
        yield f"trainer.vllm_mode={mode!r}: there are {' and '.join(VLLM_MODES)}; leave it out for the first."
    size = value_of(trainer, "vllm_tensor_parallel_size")
    if mode == "colocate" and processes % size:
        yield (
            f"trainer.vllm_tensor_parallel_size={size}: so many processes share an engine, and {processes} can't be "
            "divided by it. Set a divisor of the processes, or 1."
        )
    quantized = (recipe.model.peft or {}).get(QUANTIZATION) or {}
    if mode == "colocate" and quantized.get("load_in_8bit"):
        yield (
            f"model.peft.{QUANTIZATION}.load_in_8bit=true: vLLM takes no weights that are made 8-bit when they load. "
            f"Set load_in_4bit: true instead, or trainer.use_vllm=false."
        )
    sampling = value_of(trainer, "vllm_importance_sampling_mode")
    corrected = value_of(trainer, "vllm_importance_sampling_correction")
    if value_of(trainer, "loss_type") == "vespo" and corrected and sampling not in TRUNCATES:
        yield (
            f"trainer.loss_type=vespo with trainer.vllm_importance_sampling_mode={sampling}: TRL's vespo takes "
            f"{' or '.join(TRUNCATES)} with vLLM. Set one of them."
        )


def _reference(recipe: Recipe) -> Iterator[str]:
    if not recipe.trainer.get("sync_ref_model"):
        return
    if not value_of(recipe.trainer, "beta"):
        yield (
            "trainer.sync_ref_model=true with trainer.beta=0: no reference model is there to move. Set trainer.beta "
            "above 0, or leave out trainer.sync_ref_model."
        )
    if recipe.model.peft:
        yield (
            "trainer.sync_ref_model=true with model.peft: the reference of an adapter is its base, which stays as it "
            "is. Leave out trainer.sync_ref_model."
        )


def _adapter(recipe: Recipe) -> Iterator[str]:
    modules = (recipe.model.peft or {}).get("target_modules")
    if isinstance(modules, list) and any(str(module).endswith("lm_head") for module in modules):
        yield (
            "model.peft.target_modules holds lm_head: TRL computes log-probs from its weight alone, so that an adapter "
            "there would never be trained, and refuses it. Leave it out; all-linear does."
        )
