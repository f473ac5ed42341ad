#!/usr/bin/env python3
"""Makes the embedded reasoner from nothing: tokenizer, chat template, and a fine-tuned tiny model.

It solves chains (`lenrl.tasks.chain`) step by step and re-checks itself far too often, so that there is
something to save. Only problems of the split `sft` are trained on; `dev` is measured at the end.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from lenrl.tasks.chain import ChainTask, sft_trace
from lenrl.tasks.prompts import encode

Batch = tuple[torch.Tensor, torch.Tensor, float]
Pairs = list[tuple[list[int], list[int]]]  # ids and labels of a trace each

WORDS = ["<think>", "</think>", "Wait", "\\boxed{"]  # one token each, kept by skip_special_tokens
PAD, END = "<|pad|>", "<|im_end|>"
PAD_ID, END_ID = 0, 1  # they come first in the vocabulary
ROLES = ["<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|' + message['role'] + '|>' + message['content'] + '<|im_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""
BATCH = 32  # traces an update
TOGETHER = 16 * BATCH  # traces that are drawn together
SFT_PROBLEMS = 20_000
CAP = 256  # sampled tokens a completion
PEAK_LR = 5e-3
SINGLE_PASS_SHARE = 2 / 3  # of the updates


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, so that any text can be encoded and comes back unchanged."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = [PAD, END, *ROLES]
    vocabulary = {token: i for i, token in enumerate(specials + letters)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in specials])
    core.add_tokens([AddedToken(word, special=False, normalized=False) for word in WORDS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=ROLES,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,  # vLLM refuses less
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        initializer_range=0.1,  # 0.02 is too small at this width: the steps are then not learned
        bos_token_id=None,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
        dtype="float32",
    )
    model = Qwen3ForCausalLM(config)
    # No temperature, top_k or top_p: sampling then follows the model's own distribution.
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )
    return model


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, rechecks: bool) -> Iterator[Batch]:
    """Endless batches of traces, see `grouped`."""
    rng = random.Random(seed)
    # By operand count: only about 120 problems have two, and they are asked as often as the others.
    prompts: dict[int, list[str]] = {}
    for problem in ChainTask(seed=seed).problems("sft", SFT_PROBLEMS):
        prompts.setdefault(int(problem.difficulty or 0), []).append(problem.prompt)

    def draw() -> Pairs:
        pairs = []
        for operands in rng.choices(sorted(prompts), k=TOGETHER):
            text = rng.choice(prompts[operands])
            head = encode(tokenizer, [{"role": "user", "content": text}])
            tail = tokenizer.encode(sft_trace(text, rng, rechecks) + END)
            pairs.append((head + tail, [-100] * len(head) + tail))
        return pairs

    return grouped(draw, rng)


def grouped(draw: Callable[[], Pairs], rng: random.Random) -> Iterator[Batch]:
    """Endless batches of (ids, labels, tokens), drawn afresh and alike in length within a batch.

    `ids` and `labels` are (BATCH, T), padded right; labels are -100 on the prompt and on the padding.
    `tokens` is the mean number of labels a batch, over the batches drawn together: the divisor of the
    loss. Divided by its own number instead, a batch of short traces would teach them far above their share.
    `draw` gives the ids and labels of `TOGETHER` traces.
    """
    while True:
        pairs = draw()
        pairs.sort(key=lambda pair: len(pair[0]))
        tokens = sum(label != -100 for _, labels in pairs for label in labels) * BATCH / len(pairs)
        groups = [pairs[i : i + BATCH] for i in range(0, len(pairs), BATCH)]
        rng.shuffle(groups)
        for group in groups:
            longest = len(group[-1][0])
            ids = [ids + [PAD_ID] * (longest - len(ids)) for ids, _ in group]
            labels = [labels + [-100] * (longest - len(labels)) for _, labels in group]
            yield torch.tensor(ids), torch.tensor(labels), tokens


def train(model: Qwen3ForCausalLM, data: Iterator[Batch], steps: int) -> None:
    """Supervised fine-tuning: AdamW, 50 warm-up steps, cosine decay to a twentieth."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    start = time.monotonic()
    for step, (ids, labels, tokens) in enumerate(itertools.islice(data, steps)):
        decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = PEAK_LR * min(1.0, (step + 1) / 50) * decay
        # Padding is on the right and causal attention never looks there: no mask is needed.
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = (
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
            / tokens
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}  loss {loss.item():.4f}  {time.monotonic() - start:.0f} s", flush=True)
    model.eval()


@torch.inference_mode()
def measure(
    model: Any,  # `generate` is not typed for a Qwen3ForCausalLM
    tokenizer: PreTrainedTokenizerFast,
    samples: int,
    problems: int = 300,
) -> dict[str, float]:
    """Accuracy and tokens of completions to `dev` problems; `samples=0` decodes greedily.

    `truncated` is the share without an end, `mixed` the share of problems with right and wrong samples.
    """
    asked = ChainTask().problems("dev", problems)
    chats = [[{"role": "user", "content": p.prompt}] for p in asked for _ in range(max(samples, 1))]
    gold = [p.answer for p in asked for _ in range(max(samples, 1))]
    right, lengths, ended = [], [], []
    for start in range(0, len(chats), 400):
        prompts = [encode(tokenizer, chat) for chat in chats[start : start + 400]]
        inputs = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        config = GenerationConfig(
            do_sample=samples > 0,
            max_new_tokens=CAP,
            top_k=0 if samples else None,
            eos_token_id=END_ID,
            pad_token_id=PAD_ID,
        )
        out = model.generate(**inputs, generation_config=config)[:, inputs["input_ids"].shape[1] :]
        for row, answer in zip(out, gold[start:], strict=False):
            ended.append(bool((row == END_ID).any()))
            lengths.append(int((row != PAD_ID).sum()))
            text = str(tokenizer.decode(row, skip_special_tokens=True))
            right.append(ended[-1] and text.endswith(f"\\boxed{{{answer}}}"))
    figures = {
        "accuracy": sum(right) / len(right),
        "tokens": sum(lengths) / len(lengths),
        "longest": max(lengths),
        "truncated": 1 - sum(ended) / len(ended),
    }
    if samples:
        groups = torch.tensor(right).view(-1, samples).float().mean(1)
        figures["mixed"] = ((groups > 0) & (groups < 1)).float().mean().item()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("lenrl/generation/tiny"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    # Arithmetic first: a re-check repeats what stands above and teaches none, but costs tokens.
    first = int(options.steps * SINGLE_PASS_SHARE)
    short, long = batches(tokenizer, options.seed, False), batches(tokenizer, options.seed + 1, True)
    train(model, itertools.chain(itertools.islice(short, first), long), options.steps)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    for path in options.out.iterdir():
        path.chmod(0o644)  # the weights are written readable by their owner only
    for name, samples in (("greedy", 0), ("sampled", 8)):
        figures = measure(model, tokenizer, samples)
        print(name, "  ".join(f"{key} {value:.3f}" for key, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
