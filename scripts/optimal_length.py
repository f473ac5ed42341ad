#!/usr/bin/env python3
"""Accuracy over the number of lines of thinking, where the length is set and not chosen by the model.

    scripts/optimal_length.py                       # three sizes, some minutes each on a CPU
    scripts/optimal_length.py --layers 3 --updates 2000

`by_length` of an evaluation says how accurate completions of a length are; which problems are long it can't take apart.
Here a word in the prompt, `<1>` to `<4>`, says how many operators a line of thinking takes, so that one problem is
solved in 15 lines or in 4: many easy steps against few hard ones (after arXiv 2502.07266, whose problems are sums
modulo m and whose models have 5 to 9 layers). Prints accuracy with 95 % intervals, and the best number of operators a
line, by the number of operators of the problem and by the model's layers. Models are made from nothing and not kept.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator

import make_tiny_model as maker
import torch
from transformers import Qwen3ForCausalLM

from lenrl import measures
from lenrl.generation.base import Decoding
from lenrl.generation.sampling import completion_text, sample
from lenrl.measures.format import share, with_interval
from lenrl.tasks.chain import ChainTask, evaluate
from lenrl.tasks.prompts import encode

A_LINE = (1, 2, 3, 4)  # operators
OPERATORS = (3, 7, 11, 15)  # of a problem
TRACES = 20_000
PROBLEMS = 150  # of each number of operators, measured
SAMPLES = 4  # of each, at temperature 1
CAP = 200  # tokens


def trace(text: str, a_line: int) -> str:
    """The thinking about a chain with so many operators a line, and its answer."""
    value, rest, lines = text[0], text[1:], []
    while rest:
        part, rest = rest[: 2 * a_line], rest[2 * a_line :]
        line = f"{value}{part}"
        value = str(evaluate(line))
        lines.append(f"{line}={value}")
    return "<think>\n" + "\n".join(lines) + f"\n</think>\n\\boxed{{{value}}}"


def asked(tokenizer, text: str, a_line: int) -> list[int]:
    return encode(tokenizer, [{"role": "user", "content": f"<{a_line}>{text}"}])


def batches(tokenizer, seed: int) -> Iterator[maker.Batch]:
    """Endless batches of traces, every number of operators equally often."""
    rng = random.Random(seed)
    task = ChainTask(operands=tuple(range(2, max(OPERATORS) + 2)), seed=seed)
    texts: dict[int, list[str]] = {}
    for problem in task.problems("sft", TRACES):
        texts.setdefault(len(problem.prompt), []).append(problem.prompt)

    def draw() -> maker.Pairs:
        pairs = []
        for length in rng.choices(sorted(texts), k=maker.TOGETHER):
            text, a_line = rng.choice(texts[length]), rng.choice(A_LINE)
            head = asked(tokenizer, text, a_line)
            tail = tokenizer.encode(trace(text, a_line) + maker.END)
            pairs.append((head + tail, [-100] * len(head) + tail))
        return pairs

    return maker.grouped(draw, rng)


def made(tokenizer, layers: int, updates: int, seed: int) -> Qwen3ForCausalLM:
    """A model that follows the word."""
    config = maker.make_model(tokenizer).config
    config.num_hidden_layers = layers
    config.layer_types = ["full_attention"] * layers
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    maker.train(model, batches(tokenizer, seed), updates)
    return model


def measured(model, tokenizer, texts: list[str], a_line: int) -> measures.Estimate:
    """Accuracy of samples that are asked for so many operators a line."""
    prompts = [asked(tokenizer, text, a_line) for text in texts for _ in range(SAMPLES)]
    found = sample(model, tokenizer, prompts, Decoding(max_new_tokens=CAP))
    right = [
        completion_text(tokenizer, one.ids, [maker.END_ID]).endswith(f"\\boxed{{{evaluate(text)}}}")
        for one, text in zip(found, [text for text in texts for _ in range(SAMPLES)], strict=True)
    ]
    estimate = measures.accuracy(torch.tensor(right).view(-1, SAMPLES).double().numpy())
    assert estimate is not None
    return estimate


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = maker.make_tokenizer()
    task = ChainTask(operands=tuple(number + 1 for number in OPERATORS))
    problems = task.problems("dev", PROBLEMS * len(OPERATORS))
    print("| layers | operators | " + " | ".join(f"{n} a line" for n in A_LINE) + " | best |")
    print("| --- " * (len(A_LINE) + 3) + "|")
    for layers in options.layers:
        model = made(tokenizer, layers, options.updates, options.seed)
        for number in OPERATORS:
            texts = [problem.prompt for problem in problems if problem.difficulty == number + 1]
            found = {a_line: measured(model, tokenizer, texts, a_line) for a_line in A_LINE}
            cells = [with_interval(estimate.value, estimate.ci95, share) for estimate in found.values()]
            best = max(found, key=lambda a_line: found[a_line].value)
            print(f"| {layers} | {number} | {' | '.join(cells)} | {best} |", flush=True)


if __name__ == "__main__":
    main()
