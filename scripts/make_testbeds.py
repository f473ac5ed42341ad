#!/usr/bin/env python3
"""Makes the models on which methods are compared, from the embedded one, by supervised fine-tuning.

    scripts/make_testbeds.py                # all
    scripts/make_testbeds.py --only mixed

`mixed` solves chains of 2 to 11 operands: two or three operands it often answers at once, and rightly; the longest
truly need a line a step, and are not learned to the end. `sums` solves the sums of reasoning-gym's `chain_sum`, whose
values leave one digit. Both re-check themselves too often, like the model they come from, and know the words that
budgets put into prompts, without heeding them: a method that uses words should not begin by confusing its model.
`heeding` solves chains as the embedded model does, and does not re-check itself where the system prompt says "Be
brief.": a method that distils an instruction needs a model that heeds one, and the embedded one does not.
`algorithms` learns the parity of 2 to 8 bits (`task=algorithms`) from nothing or from SmolLM2-135M (`--base`), in steps
that fetch their operand by its index, in steps with indices only, and in bare ones (`--forms`); most traces are written
twice or thrice. It is made where it is named alone (`--only algorithms`), in `--updates` that continue after a stop.
None that was tried carries beyond 8 bits (docs/log.md). Folders that stand are kept.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from lenrl.strategies.base import Budget, PromptBudget, RunInfo
from lenrl.strategies.registry import build as strategy
from lenrl.tasks.algorithm_steps import ALGORITHMS, INDICES, Trace
from lenrl.tasks.algorithms import AlgorithmsTask
from lenrl.tasks.chain import ChainTask, sft_trace
from lenrl.tasks.gym import GymTask
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import Messages, messages, with_system

OUT = Path("outputs/testbeds")
BATCH = 32  # traces an update
RECHECKS = (1, 2, 4, 4, 2)  # weights of 0, 1, ... repetitions of a sum
MOST_STEPS = 16  # over all passes of one sum
CAP = 160  # tokens, of the comparison
SPOKEN_SHARE = 0.3  # prompts that say something about length
BUDGETS = [
    ("curriculum", {"start": 120, "end": 40, "interval": 8}), ("draw", {"low": 10}), ("levels", {}), ("modes", {}),
    ("interval", {"lo": 20, "hi": 60}), ("stages", {"caps": [150, 100, 60]}),
]  # fmt: skip
PLAIN = ChainTask()  # a template of nothing but the prompt
BRIEF = "Be brief."  # what `heeding` heeds
FORMS: dict[Trace, float] = {"tail": 0.5, "hint": 0.25, "plain": 0.25}  # shares of the traces of `algorithms`
AUXILIARY_SHARE = 0.2  # of its problems
TRAIN_SEED = 7  # of the sums: no test of the comparison draws from it


def mixed(rng: random.Random, count: int) -> Iterable[tuple[str, str]]:
    """(prompt, trace) of chains: every number of operands equally often, the longest half as often."""
    texts: dict[int, list[str]] = {}
    for problem in ChainTask(operands=tuple(range(2, 12))).problems("sft", 20_000):
        texts.setdefault(int(problem.difficulty or 0), []).append(problem.prompt)
    weights = [1 if operands > 9 else 2 for operands in sorted(texts)]
    for operands in rng.choices(sorted(texts), weights, k=count):
        text = rng.choice(texts[operands])
        yield text, sft_trace(text, rng, direct=0.2 if operands <= 3 else 0.03)


def heeding(rng: random.Random, count: int) -> Iterable[tuple[Messages, str]]:
    """(messages, trace) of chains; half of them ask to be brief, and are answered in one pass."""
    texts = [problem.prompt for problem in ChainTask().problems("sft", 20_000)]
    for text in rng.choices(texts, k=count):
        brief = rng.random() < 0.5
        chat = with_system(messages(PLAIN, Problem(text, text, answer=None)), BRIEF if brief else None)
        yield chat, sft_trace(text, rng, rechecks=not brief)


def sums(rng: random.Random, count: int) -> Iterable[tuple[str, str]]:
    """(prompt, trace) of `chain_sum`: the running value, a line a term."""
    task = sums_task(TRAIN_SEED)
    problems = task.problems("train", count)
    for problem in problems:
        yield problem.prompt, _sum_trace(problem.prompt, rng)


def sums_task(seed: int) -> GymTask:
    config = {"min_terms": 2, "max_terms": 6, "min_digits": 1, "max_digits": 1}
    return GymTask(
        generator="chain_sum", config=config, seed=seed, train=0, dev=0, test=0, template="{prompt}"
    )


def _sum_trace(question: str, rng: random.Random) -> str:
    expression = re.sub(r"\s", "", question.rsplit(":", 1)[-1]).rstrip("=")
    first, *rest = re.findall(r"[+-]?\d+", expression)
    if rng.random() < (0.3 if len(rest) == 1 else 0.05):
        return f"\\boxed{{{int(first) + sum(map(int, rest))}}}"
    weights = RECHECKS[: max(1, MOST_STEPS // len(rest))]
    passes = []
    for _ in range(1 + rng.choices(range(len(weights)), weights)[0]):
        value, lines = int(first), []
        for term in rest:
            result = value + int(term) + (rng.choice([-1, 1]) if rng.random() < 0.008 else 0)
            lines.append(f"{value}{term}={result}")
            value = result
        passes.append("\n".join(lines))
    return "<think>\n" + "\nWait\n".join(passes) + f"\n</think>\n\\boxed{{{value}}}"


def asked(prompt: str, rng: random.Random) -> Messages:
    """The chat of a problem; in some of them a budget speaks."""
    prompt_budget = PromptBudget()
    if rng.random() < SPOKEN_SHARE:
        name, options = rng.choice(BUDGETS)
        run_info = RunInfo(num_generations=8, max_length=CAP, max_steps=40)
        budget = strategy("budget", {"name": name, **options})
        assert isinstance(budget, Budget)
        prompt_budget = budget([prompt] * 8, [{}] * 8, rng.randrange(40), run_info)[rng.randrange(8)]
    return with_system(
        messages(PLAIN, Problem(prompt, prompt, answer=None), prompt_budget.hint), prompt_budget.system
    )


def fine_tune(traces: Iterable[tuple[str | Messages, str]], out: Path, learning_rate: float) -> None:
    """TRL's own fine-tuning of the embedded model on (prompt, completion), the loss on completions only."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from lenrl.generation.pretrained import find

    rng = random.Random(1)
    rows = [
        {
            "prompt": asked(prompt, rng) if isinstance(prompt, str) else prompt,
            "completion": [{"role": "assistant", "content": text}],
        }
        for prompt, text in traces
    ]
    base = find("tiny")
    config = SFTConfig(
        output_dir=str(out.with_suffix(".sft")), per_device_train_batch_size=BATCH, num_train_epochs=1,
        learning_rate=learning_rate, lr_scheduler_type="cosine", warmup_steps=50, adam_beta2=0.98,
        max_length=512, train_sampling_strategy="group_by_length", save_strategy="no", logging_steps=50,
        report_to=[], disable_tqdm=True, use_cpu=True, seed=0, bf16=False, activation_checkpointing=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    generation = model.generation_config
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
    )  # fmt: skip
    trainer.train()
    model.generation_config = generation  # TRL puts its own
    trainer.save_model(str(out))


def algorithms(rng: random.Random, count: int, forms: dict[Trace, float]) -> Iterable[tuple[str, str]]:
    """(prompt, trace) of `task=algorithms`: whole problems in all forms, and auxiliary ones of one fetch."""
    task = AlgorithmsTask()
    algorithm, instances = ALGORITHMS[task.algorithm], task.instances("sft", 8000)
    for one in rng.choices(instances, k=count):
        if rng.random() < AUXILIARY_SHARE:
            prompt, answer = algorithm.auxiliary(one, rng)
            yield prompt, f"\\boxed{{{answer}}}"
            continue
        steps = algorithm.trace(one, rng.choices(list(forms), list(forms.values()))[0])
        passes = "\nWait\n".join([steps] * rng.choice((1, 2, 2, 3)))
        yield algorithm.prompt(one), f"<think>\n{passes}\n</think>\n\\boxed{{{algorithm.answer(one)}}}"


def make_algorithms(folder: Path, options: argparse.Namespace) -> None:
    """A model from nothing, whose tokens are bytes and indices, or SmolLM2-135M with its own."""
    from dataclasses import replace

    from make_reasoner import TEACHING, blank_model, fine_tune, keep_options, smollm2
    from make_tiny_model import make_tokenizer

    teaching = replace(TEACHING[options.base], updates=options.updates, learning_rate=options.learning_rate)
    kept = ("base", "updates", "forms", "width", "layers", "learning_rate")
    keep_options(folder.with_suffix(".sft"), {name: getattr(options, name) for name in kept})
    forms = {form: FORMS[form] for form in options.forms}
    pairs = list(algorithms(random.Random(0), options.updates * teaching.batch, forms))
    if options.base == "smollm2":
        model, tokenizer = smollm2()
    else:
        tokenizer = make_tokenizer()
        tokenizer.add_tokens([f"<{index}>" for index in range(INDICES)])
        model = blank_model(tokenizer, options.width, options.layers)
    fine_tune(model, tokenizer, pairs, folder, teaching)


TESTBEDS: dict[str, tuple[Callable, int, float]] = {
    "mixed": (mixed, 1000, 2e-3),
    "sums": (sums, 1200, 3e-3),
    "heeding": (heeding, 600, 1e-3),
}
"""name -> (its traces, updates, peak learning rate)"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=[*TESTBEDS, "algorithms"])
    parser.add_argument("--out", type=Path, default=OUT)
    of_algorithms = parser.add_argument_group("algorithms")
    of_algorithms.add_argument("--base", choices=["nothing", "smollm2"], default="nothing")
    of_algorithms.add_argument("--updates", type=int, default=4000)
    of_algorithms.add_argument("--learning-rate", type=float, default=2e-3)
    of_algorithms.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="of the traces")
    of_algorithms.add_argument("--width", type=int, default=128, help="of a model from nothing")
    of_algorithms.add_argument("--layers", type=int, default=6, help="of a model from nothing")
    options = parser.parse_args()
    for name in [options.only] if options.only else TESTBEDS:
        folder = options.out / name
        if (folder / "model.safetensors").exists():
            print(f"{folder} stands already")
            continue
        if name == "algorithms":
            make_algorithms(folder, options)
        else:
            draw, updates, learning_rate = TESTBEDS[name]
            fine_tune(draw(random.Random(0), updates * BATCH), folder, learning_rate)
        print(f"{folder} is made")


if __name__ == "__main__":
    main()
