"""Key-value caches of a batch that gets smaller, and the models that can be decoded with one."""

import inspect
from functools import cache

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from lenrl.generation.base import CausalLM

# Layers of a cache that hold keys and values row by row.
DIVISIBLE = (DynamicLayer, DynamicSlidingWindowLayer)
FORWARD = {"input_ids", "attention_mask", "position_ids", "logits_to_keep"}
CACHE = ("cache", "past_key_values")  # what forward calls it: since transformers 5.24, and before
MIN_ROOM = 64  # tokens


class RoomyLayer(DynamicLayer):
    """A layer's keys and values at the front of a buffer with room for more: a token is written, not concatenated.

    `keys` and `values` are views (N, heads, T, head_dim) of the buffers, which grow by half when they are full.
    """

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """The layer's keys and values, with these tokens' at the end."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers: tuple[Tensor, ...] = key_states, value_states
        done = self.get_seq_length()
        tokens = done + key_states.shape[-2]
        if tokens > self._buffers[0].shape[-2]:
            self._buffers = tuple(_roomy(buffer[:, :, :done], tokens) for buffer in self._buffers)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, done:tokens] = states
        self.keys, self.values = (buffer[:, :, :tokens] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with these rows, each as often as it is named."""
        tokens = self.get_seq_length()
        self._buffers = tuple(_taken(buffer, indices, tokens) for buffer in self._buffers)
        self.keys, self.values = (buffer[:, :, :tokens] for buffer in self._buffers)


def _roomy(states: Tensor, tokens: int) -> Tensor:
    """A buffer for more than `tokens` tokens, with these states (N, heads, T, head_dim) at its front."""
    rows, heads, done, width = states.shape
    buffer = states.new_empty(rows, heads, tokens + max(MIN_ROOM, tokens // 2), width)
    buffer[:, :, :done] = states
    return buffer


def _taken(buffer: Tensor, indices: Tensor, tokens: int) -> Tensor:
    """These rows of a buffer, of whose room the first tokens are filled."""
    taken = buffer.new_empty(len(indices), *buffer.shape[1:])
    torch.index_select(buffer[:, :, :tokens], 0, indices, out=taken[:, :, :tokens])
    return taken


def cache_name(model: CausalLM) -> str:
    """The name by which the model's forward takes a cache."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    taken = forward_arguments(type(inner))
    return next((name for name in CACHE if name in taken), CACHE[-1])


@cache
def forward_arguments(model: type[torch.nn.Module]) -> frozenset[str]:
    """Names that the forward of a class takes; asked for at every token."""
    return frozenset(inspect.signature(model.forward).parameters)


def divisible_cache(model: CausalLM) -> DynamicCache | str:
    """An empty cache that rows can be taken out of; else the reason why the model can't be decoded with one."""
    from transformers.integrations.fsdp import is_fsdp_managed_module  # a second of torch.distributed

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = inner.config
    if is_deepspeed_zero3_enabled() or is_fsdp_managed_module(model):
        return "its processes must take as many forward passes as each other (ZeRO-3, FSDP)"
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return "its adapter puts tokens of its own before the prompt"
    if config.get_text_config() is not config:
        return f"{config.model_type} reads more than text"
    if missing := {*FORWARD, cache_name(model)} - forward_arguments(type(inner)):
        return f"{type(inner).__name__}.forward takes no {', '.join(sorted(missing))}"
    cache = DynamicCache(config=config)
    others = {type(layer).__name__ for layer in cache.layers if type(layer) not in DIVISIBLE}
    if others:
        return f"its state is of a kind that rows can't be taken out of ({', '.join(sorted(others))})"
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
