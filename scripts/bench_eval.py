#!/usr/bin/env python3
"""Evaluation as lenrl samples it against plain `generate` in batches of one fixed size: same tokens, other seconds.

    scripts/bench_eval.py                                  # the tiny reasoner, greedy, 500 test problems
    scripts/bench_eval.py --model org/model --task gsm8k --problems 64 --max-new-tokens 512

Both take turns in one process, with the same threads and precision. Prints seconds, and how many times faster lenrl's
is, median [smallest, largest] over the rounds. Exit code 1: a token differs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from transformers import GenerationConfig

from lenrl.generation.base import Completion, Decoding
from lenrl.generation.sampling import sample
from lenrl.generation.transformers_engine import TransformersEngine, load
from lenrl.tasks import build, encode, messages


def plain(loaded: TransformersEngine, prompts: list[list[int]], cap: int, size: int) -> list[Completion]:
    """What one writes first: batches in the order of the problems, padded on the left."""
    tokenizer, found = loaded.info.tokenizer, []
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else loaded.info.eos_ids[0]
    config = GenerationConfig(
        max_new_tokens=cap, do_sample=False, eos_token_id=loaded.info.eos_ids, pad_token_id=pad
    )
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]
        width = max(map(len, batch))
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in batch], device=loaded.model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch], device=ids.device)
        with torch.no_grad():
            out = loaded.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        for tokens in out[:, width:].tolist():
            ends = [place for place, token in enumerate(tokens) if token in loaded.info.eos_ids]
            found.append(Completion(tokens[: ends[0] + 1] if ends else tokens, truncated=not ends))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--task", default="chain")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 64, 128], help="rows of a plain batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds, on a machine with other work")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    loaded = load(options.model)
    task = build({"name": options.task})
    problems = task.problems("test", options.problems)
    prompts = [encode(loaded.info.tokenizer, messages(task, problem)) for problem in problems]
    decoding = Decoding(name="greedy", max_new_tokens=options.max_new_tokens)
    seconds: dict[str, list[float]] = {}
    tokens: dict[str, list[Completion]] = {}
    for _ in range(options.rounds):
        for size in (0, *options.sizes):
            began = clock()
            found = (
                plain(loaded, prompts, options.max_new_tokens, size)
                if size
                else sample(
                    loaded.model, loaded.info.tokenizer, prompts, decoding, eos_ids=loaded.info.eos_ids
                )
            )
            name = f"plain, {size} rows" if size else "lenrl"
            seconds.setdefault(name, []).append(clock() - began)
            tokens[name] = found
    lengths = sorted(len(c.ids) for c in tokens["lenrl"])
    print(
        f"{len(prompts)} problems, lengths {lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}; "
        f"{torch.get_num_threads()} threads"
    )
    same = True
    for name, took in seconds.items():
        ratios = sorted(a / b for a, b in zip(took, seconds["lenrl"], strict=True))
        differ = sum(a.ids != b.ids for a, b in zip(tokens[name], tokens["lenrl"], strict=True))
        same &= not differ
        print(
            f"{name:18} {statistics.median(took):7.2f} s   {statistics.median(ratios):5.2f} times "
            f"[{ratios[0]:.2f}, {ratios[-1]:.2f}]   {differ} completions differ"
        )
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
