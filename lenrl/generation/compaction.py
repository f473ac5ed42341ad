"""transformers' `generate` on a batch that gets smaller as its rows end.

Lengths of reasoning spread widely, and `generate` computes every row until the longest one ends. It is interrupted here
whenever a quarter of the rows have ended, and continued with the others from the same key-value cache.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.integrations.fsdp import is_fsdp_managed_module

from lenrl.generation.base import CausalLM

# Layers of a cache that hold keys and values row by row.
DIVISIBLE = (DynamicLayer, DynamicSlidingWindowLayer)


def generate(
    model: CausalLM,
    ids_NT: Tensor,
    mask_NT: Tensor,
    config: GenerationConfig,
    processors: Sequence[LogitsProcessor],
    *,
    keeping: Callable[[list[int]], None] | None = None,
) -> list[list[int]]:
    """Continuations of N prompts, token ids; behind an end-of-text id anything may stand.

    Args:
        model: a causal language model.
        ids_NT, mask_NT: prompts, padded on the left.
        config: with `max_new_tokens`.
        processors: of the logits.
        keeping: is given the places of the rows that go on, whenever others leave: for processors that keep a
            state by row.
    """
    width, cap = ids_NT.shape[1], int(config.max_new_tokens or 0)
    cache, shared = _divisible_cache(model), {"logits_processor": LogitsProcessorList(processors)}
    if cache is None:
        output_NT = model.generate(
            input_ids=ids_NT, attention_mask=mask_NT, generation_config=config, **shared
        )
        return output_NT[:, width:].tolist()
    continuations: list[list[int]] = [[] for _ in range(len(ids_NT))]
    rows = list(range(len(ids_NT)))
    left = copy.copy(config)
    while rows:
        left.max_new_tokens = cap - (ids_NT.shape[1] - width)
        enough = _Enough(config.eos_token_id, len(rows))
        ids_NT = model.generate(
            input_ids=ids_NT,
            attention_mask=mask_NT,
            generation_config=left,
            **shared,
            stopping_criteria=StoppingCriteriaList([enough]),
            past_key_values=cache,
        )
        at_cap = ids_NT.shape[1] - width >= cap
        going = [] if at_cap else (~enough.ended_N).nonzero().flatten().tolist()
        for place in set(range(len(rows))) - set(going):
            continuations[rows[place]] = ids_NT[place, width:].tolist()
        rows = [rows[place] for place in going]
        if rows:
            kept = torch.tensor(going, device=ids_NT.device)
            cache.batch_select_indices(kept)
            grown = ids_NT.shape[1] - mask_NT.shape[1]
            ids_NT = ids_NT[kept]
            mask_NT = torch.cat([mask_NT[kept], mask_NT.new_ones(len(kept), grown)], dim=1)
            if keeping is not None:
                keeping(going)
    return continuations


def _divisible_cache(model: CausalLM) -> DynamicCache | None:
    """An empty cache that rows can be taken out of.

    None: the model keeps a state of another kind, or its processes must take as many forward passes as each other
    (ZeRO-3, FSDP).
    """
    if is_deepspeed_zero3_enabled() or is_fsdp_managed_module(model):
        return None
    cache = DynamicCache(config=model.config.get_text_config())
    return cache if all(type(layer) in DIVISIBLE for layer in cache.layers) else None


class _Enough(StoppingCriteria):
    """Ends a `generate` once a quarter of its rows have ended."""

    def __init__(self, ends: list[int] | None, rows: int) -> None:
        self.ends = torch.tensor(ends or [], dtype=torch.long)
        self.enough = max(1, rows // 4)
        self.ended_N = torch.zeros(rows, dtype=torch.bool)

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Any:
        self.ended_N |= torch.isin(input_ids[:, -1].cpu(), self.ends)
        stop = int(self.ended_N.sum()) >= self.enough
        return torch.full((len(input_ids),), stop, dtype=torch.bool, device=input_ids.device)
