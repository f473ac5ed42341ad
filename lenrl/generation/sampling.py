"""Sampling from a model that transformers runs, as a function of its arguments and nothing else.

Three things leak into transformers' `generate` that must not move a measurement: the `generation_config.json` of the
model (top-k 50 or 20, repetition penalties, stop strings), the global random stream, and the batch a prompt happens
to sit in. Here all decoding options are explicit, and the noise of a completion is its own (`lenrl.generation.noise`),
so that neither batch size nor order changes what is drawn.
"""

import functools
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
)

from lenrl.generation.base import Batches, CausalLM, Completion, Decoding
from lenrl.generation.choice import Chosen, TokenChoice, TokenRule
from lenrl.generation.decoder import PromptRow, decode
from lenrl.generation.key_values import divisible_cache
from lenrl.generation.noise import noise_keys
from lenrl.generation.pretrained import end_ids

log = logging.getLogger("lenrl")

CACHE_BYTES_CPU = 2**30  # of key-value cache and probabilities a batch may fill without a GPU
CACHE_SHARE_GPU = 0.5  # of the free GPU memory
MAX_BATCH_SIZE = 512  # rows
PROBABILITY_BYTES = 32  # a token of the vocabulary: its logit, and float64 while one is drawn


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

    Args:
        model, batches: see `sample_rows`.
        tokenizer: only its end-of-text ids are read.
        prompt_ids: token ids, at least one a prompt.
        decoding: how to draw; its `samples` are not read.
        eos_ids: ids that end a completion; None: all that tokenizer and model name.

    Raises:
        ValueError: a prompt is empty.
        RunFailed: the model's logits are not numbers.
    """
    if eos_ids is None:
        eos_ids = end_ids(tokenizer, model.config, model.generation_config)
    keys = noise_keys(prompt_ids, decoding.seed)
    rows = [PromptRow(ids, decoding.max_new_tokens, key) for ids, key in zip(prompt_ids, keys, strict=True)]
    rule = replace(token_rule(decoding), control=batches.control, raw_logps=True)
    return sample_rows(model, rows, rule, eos_ids, batches, logps=batches.logps)


def sample_rows(
    model: CausalLM,
    rows: Sequence[PromptRow],
    rule: TokenRule,
    ends: Collection[int],
    batches: Batches,
    *,
    logps: bool = False,
) -> list[Completion]:
    """One completion a row, in their order; where the model's cache can't be divided, by transformers' `generate`.

    The model's training mode, its generation config and the global random streams are left as they were.
    Lengths come from token ids: a completion ends at its first end-of-text id, padding is never read.

    Args:
        model: a causal language model, also one with PEFT adapters; its device is used.
        batches: with `size` None as many rows as the key-value cache leaves room for. Batches that `done` covers are
            left out, and the others are the same ones as they would have been.
        logps: completions come with `logps`; needs a cache that can be divided.

    Raises:
        ValueError: a prompt is empty.
        RunFailed: the model's logits are not numbers.
    """
    for number, row in enumerate(rows):
        if len(row.prompt) == 0:
            raise ValueError(f"prompt {number} has no tokens: a model needs at least one to continue")
    by_row = dict(batches.done)
    with _neutral(model):
        for numbers in _batches(model, rows, batches.size):
            if all(number in by_row for number in numbers):
                continue
            batch = [rows[number] for number in numbers]

            def ended(some: Mapping[int, Completion], numbers: Sequence[int] = numbers) -> None:
                batches.ended({numbers[place]: completion for place, completion in some.items()})

            cache = divisible_cache(model)
            if isinstance(cache, str):
                _say_once(cache)
                completions = _generated(model, batch, rule, ends)
                ended(completions)
            else:
                completions = decode(model, batch, rule, ends, cache, logps=logps, ended=ended)
            found = {number: completions[place] for place, number in enumerate(numbers)}
            by_row |= found
            batches.keep(found)
    return [by_row[number] for number in range(len(rows))]


def token_rule(decoding: Decoding) -> TokenRule:
    """The rule of a decoding."""
    return TokenRule(decoding.greedy, decoding.temperature, decoding.top_k, decoding.top_p)


def sampler_rule(model: CausalLM, config: GenerationConfig) -> TokenRule | str:
    """The rule that `sample_rows` follows to do what `generate` does with this configuration; else why it can't."""
    rule, cache = TokenRule.of(config), divisible_cache(model)
    if isinstance(rule, str):
        return f"it does not know {rule}"
    return cache if isinstance(cache, str) else rule


def completion_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], eos_ids: Sequence[int]) -> str:
    """The text of a completion without its EOS.

    Special tokens are kept: some models' think tags are special, and dropping them would hide them from the
    verifier.
    """
    kept = list(ids[:-1] if ids and ids[-1] in eos_ids else ids)
    return str(tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _batches(model: CausalLM, rows: Sequence[PromptRow], batch_size: int | None) -> Iterator[list[int]]:
    """Row numbers a batch, longest prompts first: little padding, and a lack of memory shows at once."""
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number].prompt))
    cap = max((row.cap for row in rows), default=0)
    while order:
        size = batch_size or _rows_that_fit(model, len(rows[order[0]].prompt) + cap)
        yield order[:size]
        order = order[size:]


def _rows_that_fit(model: CausalLM, tokens: int) -> int:
    """Rows of so many tokens whose keys, values and probabilities fit into the memory set aside for them."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    parameter = next(model.parameters())
    row_bytes = 2 * config.num_hidden_layers * heads * head_dim * tokens * parameter.element_size()
    row_bytes += config.vocab_size * PROBABILITY_BYTES
    room = CACHE_BYTES_CPU
    if parameter.device.type == "cuda":
        room = CACHE_SHARE_GPU * torch.cuda.mem_get_info(parameter.device)[0]
    return max(1, min(MAX_BATCH_SIZE, int(room / row_bytes)))


@torch.no_grad()
def _generated(
    model: CausalLM, batch: Sequence[PromptRow], rule: TokenRule, ends: Collection[int]
) -> dict[int, Completion]:
    """Completions of a batch by transformers' `generate`."""
    width, most = max(len(row.prompt) for row in batch), max(row.cap for row in batch)
    fill, device = min(ends, default=0), next(model.parameters()).device
    ids = [[fill] * (width - len(row.prompt)) + list(row.prompt) for row in batch]
    mask = [[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in batch]
    choice = TokenChoice(rule, [row.key for row in batch], most, [row.used for row in batch])
    output_NT = model.generate(
        input_ids=torch.tensor(ids, device=device),
        attention_mask=torch.tensor(mask, device=device),
        logits_processor=LogitsProcessorList([Chosen(choice)]),
        generation_config=GenerationConfig(
            max_new_tokens=most,
            do_sample=False,  # the token is chosen by `choice`
            use_cache=True,
            eos_token_id=sorted(ends) or None,
            pad_token_id=fill,
        ),
    )
    generated = output_NT[:, width:].tolist()
    return {
        place: _ended(ids[: row.cap], ends)
        for place, (row, ids) in enumerate(zip(batch, generated, strict=True))
    }


def _ended(ids: list[int], ends: Collection[int]) -> Completion:
    for place, token in enumerate(ids):
        if token in ends:
            return Completion(ids[: place + 1], truncated=False)
    return Completion(ids, truncated=True)


@functools.cache
def _say_once(reason: str) -> None:
    log.warning("sampling with transformers' generate, which is slower than lenrl's own decoding: %s", reason)


@contextmanager
def _neutral(model: CausalLM) -> Iterator[None]:
    """Evaluation mode and an empty generation config; both put back, module by module.

    Buffers that a forward pass has replaced (frequencies of rotary embeddings) become ordinary tensors again: those of
    the inference mode could not be written to, as data-parallel training does.

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
            for name, buffer in module.named_buffers(recurse=False):
                if buffer.is_inference():
                    setattr(module, name, buffer.clone())
