"""Sampling from a model with transformers' `generate`, as a function of its arguments and nothing else.

Three things leak into `generate` that must not move a measurement: the `generation_config.json` of the model
(top-k 50 or 20, repetition penalties, stop strings), the global random stream, and the batch a prompt happens
to sit in. Here all decoding options are explicit, and the noise of a completion depends on (seed, prompt,
how often that prompt occurred before) only, so that neither batch size nor order changes what is drawn.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedTokenizerBase
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lenrl.errors import RunFailed
from lenrl.generation.base import Batches, CausalLM, Completion, Decoding
from lenrl.generation.compaction import generate
from lenrl.generation.pretrained import end_ids

CACHE_BYTES_CPU = 2**30  # of key-value cache a batch may fill without a GPU
CACHE_SHARE_GPU = 0.5  # of the free GPU memory
MAX_BATCH_SIZE = 128  # rows


def sample(
    model: CausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: Sequence[Sequence[int]],
    decoding: Decoding,
    batches: Batches = Batches(),  # noqa: B008 - frozen
    *,
    eos_ids: Collection[int] | None = None,
) -> list[Completion]:
    """One completion a prompt, in the order of the prompts; repeat a prompt to sample it several times.

    The model's training mode, its generation config and the global random streams are left as they were.
    Lengths come from token ids: a completion ends at its first end-of-text id, padding is never read.

    Args:
        model: a causal language model, also one with PEFT adapters; its device is used.
        tokenizer: only its pad id is read.
        prompt_ids: token ids, at least one a prompt.
        decoding: how to draw; its `samples` are not read.
        batches: with `size` None as many rows as the key-value cache leaves room for. Batches that `done` covers are
            left out, and the others are the same ones as they would have been.
        eos_ids: ids that end a completion; None: all that tokenizer and model name.

    Raises:
        ValueError: a prompt is empty.
        RunFailed: the model's logits are not numbers.
    """
    for row, ids in enumerate(prompt_ids):
        if len(ids) == 0:
            raise ValueError(f"prompt {row} has no tokens: a model needs at least one to continue")
    if eos_ids is None:
        eos_ids = end_ids(tokenizer, model.config, model.generation_config)
    ends, cap, pad = set(eos_ids), decoding.max_new_tokens, getattr(tokenizer, "pad_token_id", None)
    pad = min(ends, default=0) if pad is None else pad
    config = GenerationConfig(
        max_new_tokens=cap,
        do_sample=False,  # the noise is drawn by `_Draw`
        use_cache=True,
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad,
    )
    keys = noise_keys(prompt_ids, decoding.seed)
    by_row = dict(batches.done)
    device = next(model.parameters()).device
    with _neutral(model), torch.no_grad():
        for rows in _batches(model, prompt_ids, cap, batches.size):
            if all(row in by_row for row in rows):
                continue
            ids_NT, mask_NT = _left_pad([prompt_ids[row] for row in rows], pad, device)
            processors: list[LogitsProcessor] = [_Finite()]
            noise = None if decoding.greedy else _Draw([keys[row] for row in rows], cap)
            if noise is not None:
                processors += [*_warpers(decoding), noise]
            generated = generate(
                model, ids_NT, mask_NT, config, processors, keeping=noise.keep if noise else None
            )
            batch = {row: _ended(ids, ends) for row, ids in zip(rows, generated, strict=True)}
            by_row |= batch
            batches.keep(batch)
    return [by_row[row] for row in range(len(prompt_ids))]


def completion_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], eos_ids: Sequence[int]) -> str:
    """The text of a completion without its EOS.

    Special tokens are kept: some models' think tags are special, and dropping them would hide them from the
    verifier.
    """
    kept = list(ids[:-1] if ids and ids[-1] in eos_ids else ids)
    return str(tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _batches(model: CausalLM, prompts, max_new_tokens: int, batch_size: int | None) -> Iterator[list[int]]:
    """Row numbers a batch, longest prompts first: little padding, and a lack of memory shows at once."""
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    while order:
        size = batch_size or _rows_that_fit(model, len(prompts[order[0]]) + max_new_tokens)
        yield order[:size]
        order = order[size:]


def _rows_that_fit(model: CausalLM, tokens: int) -> int:
    """Rows of so many tokens whose keys and values fit into the memory set aside for them."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    parameter = next(model.parameters())
    row_bytes = 2 * config.num_hidden_layers * heads * head_dim * tokens * parameter.element_size()
    room = CACHE_BYTES_CPU
    if parameter.device.type == "cuda":
        room = CACHE_SHARE_GPU * torch.cuda.mem_get_info(parameter.device)[0]
    return max(1, min(MAX_BATCH_SIZE, int(room / row_bytes)))


def _left_pad(prompts: list[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask (N, T). The mask is built from lengths: the pad id may also occur inside a prompt."""
    width = max(len(ids) for ids in prompts)
    ids_NT = [[pad] * (width - len(ids)) + list(ids) for ids in prompts]
    mask_NT = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
    return torch.tensor(ids_NT, device=device), torch.tensor(mask_NT, device=device)


def _ended(ids: list[int], ends: set[int]) -> Completion:
    for place, token in enumerate(ids):
        if token in ends:
            return Completion(ids[: place + 1], truncated=False)
    return Completion(ids, truncated=True)


@contextmanager
def _neutral(model: CausalLM) -> Iterator[None]:
    """Evaluation mode and an empty generation config; both put back, module by module.

    `generate` fills what a passed config leaves unset from the model's own (transformers 5), so passing
    one is not enough. PEFT copies the outer model's config onto the inner one, hence both.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    configs = [(owner, owner.generation_config) for owner in {id(m): m for m in (model, inner)}.values()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        for owner, _ in configs:
            owner.generation_config = GenerationConfig()
        yield
    finally:
        for owner, config in configs:
            owner.generation_config = config
        for module, training in modes:
            module.training = training


def _warpers(decoding: Decoding) -> list[LogitsProcessor]:
    warpers: list[LogitsProcessor] = []
    if decoding.temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(decoding.temperature))
    if decoding.top_k:
        warpers.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p < 1:
        warpers.append(TopPLogitsWarper(decoding.top_p))
    return warpers


def noise_keys(prompts: Sequence[Sequence[int]], seed: int) -> list[int]:
    """A 128-bit key a row, from the seed, the prompt's tokens and how often they occurred before."""
    seen: Counter[bytes] = Counter()
    keys = []
    for ids in prompts:
        prompt = np.asarray(ids, dtype="<i8").tobytes()
        text = b"%d:%d:" % (seed, seen[prompt]) + prompt
        seen[prompt] += 1
        keys.append(int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little"))
    return keys


class _Finite(LogitsProcessor):
    """Refuses a broken model at its first token: the argmax over NaN would be an ordinary-looking id."""

    def __init__(self) -> None:
        self.checked = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not self.checked and not scores.amax(-1).isfinite().all():  # amax hands NaN on
            raise RunFailed(
                "the model's logits are NaN or infinite, so its weights are broken; take an older checkpoint"
            )
        self.checked = True
        return scores


class _Draw(LogitsProcessor):
    """Draws each row's token by its own stream of uniform numbers (inverse distribution function)."""

    def __init__(self, keys: list[int], max_new_tokens: int) -> None:
        rows = [np.random.Generator(np.random.Philox(key=key)).random(max_new_tokens) for key in keys]
        self.uniform_NT = torch.from_numpy(np.stack(rows))
        self.place = 0

    def keep(self, places: list[int]) -> None:
        """Go on with these rows only."""
        self.uniform_NT = self.uniform_NT[places]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        real = torch.float32 if scores.device.type == "mps" else torch.float64
        cumulative = scores.to(real).softmax(-1).cumsum(-1)
        uniform = self.uniform_NT[:, self.place, None].to(scores.device, real)
        self.place += 1
        # Kept below the last sum, so that rounding can't push the draw past the last possible token.
        uniform = uniform.clamp(max=1 - torch.finfo(real).eps)
        token = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
        return torch.full_like(scores, float("-inf")).scatter(-1, token, 0.0)
