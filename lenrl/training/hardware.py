"""Precision, attention and devices of a launch, from its recipe and the facts of a machine."""

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.utils.import_utils import (
    is_flash_attn_2_available,
    is_flash_attn_3_available,
    is_kernels_available,
)

from lenrl.config import Recipe

PRECISION = "ACCELERATE_MIXED_PRECISION"  # environment variable by which a launcher tells its ranks
HALF = ("bf16", "fp16")


@dataclass(frozen=True)
class Machine:
    """Facts of a machine that decide which fast paths a launch can take on it."""

    gpus: int
    bfloat16: bool = False  # its GPUs compute in it
    # Names of transformers' that its GPUs and packages have, the fastest first
    attention: tuple[str, ...] = ()
    vllm: bool = False  # is installed
    kernels: bool = False  # the package that loads compiled attention from the hub is
    gpu_gib: float = 0.0  # memory of its smallest GPU
    ram_gib: float = 0.0


@cache
def this_machine() -> Machine:
    """The facts of this machine, as this process sees it."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    generation = torch.cuda.get_device_capability()[0] if gpus else 0
    usable = {
        "flash_attention_3": generation >= 9 and is_flash_attn_3_available(),  # Hopper
        "flash_attention_2": generation >= 8 and is_flash_attn_2_available(),  # Ampere
    }
    return Machine(
        gpus=gpus,
        bfloat16=gpus > 0 and torch.cuda.is_bf16_supported(including_emulation=False),
        attention=tuple(name for name, has in usable.items() if has),
        vllm=find_spec("vllm") is not None,
        kernels=is_kernels_available(),
        gpu_gib=min((torch.cuda.get_device_properties(i).total_memory for i in range(gpus)), default=0)
        // 2**30,
        ram_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30,
    )


def asks_for_gpus(launch: Mapping[str, Any]) -> bool:
    """A launch file is meant for GPUs; `cpu2` has to name a type of GPUs too, but in no precision of theirs."""
    if launch.get("use_cpu"):
        return False
    sharded = launch.get("distributed_type") in ("DEEPSPEED", "FSDP")
    return sharded or bool(launch.get("gpu_ids")) or launch.get("mixed_precision") in HALF


def mixed_precision(
    recipe: Recipe, machine: Machine, environment: Mapping[str, str] = os.environ
) -> tuple[str, str]:
    """The precision that forward and backward compute in (`no`, `bf16`, `fp16`, `fp8`), and its reason.

    What the recipe sets by `trainer.bf16` or `trainer.fp16` counts most, then what the launcher said, then `launch`.
    Without GPUs a launch that is meant for them falls back to the precision of the weights.
    """
    for name in HALF:
        if recipe.trainer.get(name):
            return name, f"trainer.{name}=true"
    asked = environment.get(PRECISION) or str(recipe.launch.get("mixed_precision", "no"))
    if asked == "no":
        return "no", "launch.mixed_precision=no"
    if recipe.trainer.get(asked) is False:
        return "no", f"trainer.{asked}=false"
    if machine.gpus == 0:
        return "no", "there is no GPU"
    if asked == "bf16" and not machine.bfloat16:
        return "no", "this GPU does not compute in bfloat16; launch.mixed_precision=fp16 is there for it"
    return asked, f"launch.mixed_precision={asked}"


def attention(
    recipe: Recipe, config: PreTrainedConfig, precision: str, machine: Machine
) -> tuple[str | None, str]:
    """Implementation of attention that the model is loaded with (None: transformers chooses), and its reason.

    One that a package would fetch from the hub as compiled code is taken only if `model.attn_implementation` names it.
    """
    if recipe.model.attn_implementation:
        return recipe.model.attn_implementation, "model.attn_implementation names it"
    if machine.gpus == 0:
        return None, "there is no GPU"
    if precision not in HALF and recipe.model.dtype == "float32":
        return None, "flash attention computes in 16 bit only, and this run in float32"
    for name in machine.attention:
        if reason := _refusal(config, name):
            return None, f"transformers refuses {name} for this model: {reason}"
        return name, "its package is installed"
    named = "model.attn_implementation=kernels-community/flash-attn2"
    remedy = f"; {named} would fetch it from the hub" if machine.kernels else ""
    return None, f"neither flash-attn nor flash-attn-3 is installed for this GPU{remedy}"


def _refusal(config: PreTrainedConfig, name: str) -> str | None:
    """Words of transformers' where a model of this configuration can't have that attention."""
    try:
        with torch.device("meta"):
            AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation=name)
    except (ValueError, ImportError) as fault:
        return str(fault).splitlines()[0]
    return None


def fallbacks(launch: Mapping[str, Any], machine: Machine) -> list[str]:
    """A warning where a launch that is meant for GPUs finds none."""
    if machine.gpus or not asks_for_gpus(launch):
        return []
    processes = int(launch.get("num_processes", 1)) // max(1, int(launch.get("num_machines", 1)))
    copies = (
        "one process" if processes == 1 else f"{processes} processes, each with the whole model (DDP, gloo)"
    )
    kinds = {
        "DEEPSPEED": f"DeepSpeed on the CPU, {processes} processes, if DS_ACCELERATOR=cpu is in the environment",
        "FSDP": f"{copies}: accelerate shards on GPUs only",
    }
    falls_back_to = kinds.get(str(launch.get("distributed_type")), copies)
    return [
        f"this launch is meant for GPUs and this machine has none. It falls back to the CPU: {falls_back_to}; in the "
        "precision of model.dtype. launch=cpu or launch=cpu2 is there for that."
    ]
