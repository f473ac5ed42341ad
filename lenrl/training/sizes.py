"""Memory of a training process, from a model's configuration. Arithmetic; nothing is loaded or measured.

Upper bounds where they depend on the completions: each is taken to be as long as its cap.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lenrl.errors import BadInput
from lenrl.training.peft import QUANTIZATION, peft_config

GIB = 2**30
BYTES: Mapping[str | None, int] = {"float32": 4, "bfloat16": 2, "float16": 2}  # a number, by its dtype
# Bytes a token and a unit of width that a layer keeps for its backward pass in 16 bit, without attention scores,
# which fused kernels do not keep: arXiv 2205.05198, section 4.1.
LAYER_BYTES = 34
_built: dict[tuple[type, str, str], tuple[int, int]] = {}  # parameters, and those trained, of what was built


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

    def cache_bytes(self, tokens: int, size: int) -> int:
        """Keys and values of one row of `tokens`, in numbers of `size` bytes."""
        return 2 * self.layers * self.heads * self.head_dim * tokens * size

    def activation_bytes(self, tokens: int, size: int, *, checkpointed: bool) -> float:
        """Bytes that a forward pass keeps of one row for the backward pass; checkpointed: and of a layer made again."""
        layer = tokens * self.width * size
        return layer * (self.layers + LAYER_BYTES / 2 if checkpointed else self.layers * LAYER_BYTES / 2)

    def logit_bytes(self, tokens: int) -> int:
        """Logits of one row in float32, and their gradient."""
        return 2 * tokens * self.vocabulary * 4


def shape(config: Any, peft: dict[str, object] | None = None) -> Shape:
    """The shape of a model, built without memory for its weights; once for equal arguments.

    Args:
        config: of transformers.
        peft: the recipe's `model.peft`.
    """
    key = type(config), config.to_json_string(use_diff=False), json.dumps(peft, sort_keys=True)
    if key not in _built:
        _built[key] = _parameters(config, peft)
    count, trained = _built[key]
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


def _parameters(config: Any, peft: dict[str, object] | None) -> tuple[int, int]:
    """Parameters of a model, and those that are trained."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
        count = trained = sum(p.numel() for p in model.parameters())
        adapter = peft_config(peft)
        if adapter is not None:
            from peft import get_peft_model

            try:
                wrapped: Any = get_peft_model(model, adapter)
            except ValueError as fault:  # modules or layers that this model does not have
                said = str(fault).rstrip(".")
                raise BadInput(f"model.peft: peft finds no place for the adapter: {said}") from fault
            trained = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    return count, trained


def held_bytes(
    of: Shape,
    launch: Mapping[str, Any],
    dtype: str | None,
    peft: Mapping[str, Any] | None,
    *,
    processes: int,
    beta: float,
    teacher: bool,
) -> tuple[float, float]:
    """Bytes that a process holds always: of weights, gradients and Adam's moments; of reference and teacher.

    A teacher has what is trained, in the weights' precision and whole.
    """
    size = BYTES[dtype]
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
    reference = not peft and beta > 0
    copies = of.parameters * size * of_base * reference + of.trained * size * teacher
    return of.trained * trained + max(0, frozen) * each * of_base, copies
