#!/usr/bin/env python3
"""Makes a language model that solves easy word problems, and takes twice the words that it must.

    scripts/make_reasoner.py                       # from nothing, an hour of a core
    scripts/make_reasoner.py --base smollm2        # SmolLM2-135M, with LoRA: half an hour of two cores
    scripts/make_reasoner.py --check 0.3,1 --detour 0,0 --second 0,0 --out outputs/models/terse

The problems are templates of reasoning-gym's gsm_symbolic, whose entries carry a worked solution. **The wordiness is
taught**: the solution is surrounded by a detour (what is given and asked, said again), checks (its equations, written
again) and a second way (its equations, turned round), each with a share and a greatest length. Taught are problems of
the split `sft` of `recipes/task/gsm_easy.yaml`, whose numbers are in no other split, and nothing of `gsm_new.yaml`.
The command again continues a run that was stopped; a model that stands is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenrl.config.yaml_files import read_yaml
from lenrl.recipe_paths import RECIPES
from lenrl.tasks.gym import GymTask

OUT = Path("outputs/models")
SMOLLM2 = OUT / "smollm2_135m"
CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""  # SmolLM2's own, without the system prompt that it adds
TASK = RECIPES / "task/gsm_easy.yaml"
VOCABULARY = 1024  # tokens of a model from nothing
EQUATION = re.compile(r"(\d+(?: ?[-+*x/] ?\d+)+) ?= ?(\d+)\b(?!\.\d)")
INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}


@dataclass(frozen=True)
class Words:
    """(share of the completions, greatest length) of each kind of taught wordiness."""

    detour: tuple[float, int]  # sentences
    check: tuple[float, int]  # passes
    second: tuple[float, int]  # equations


@dataclass(frozen=True)
class Teaching:
    """Settings of the fine-tuning of one base."""

    batch: int  # completions an update
    updates: int
    learning_rate: float
    save_steps: int
    lora: bool


TEACHING = {"nothing": Teaching(32, 2400, 3e-3, 100, False), "smollm2": Teaching(4, 500, 8e-4, 10, True)}


def wordy(question: str, solution: str, words: Words, rng: random.Random) -> str:
    """A completion that ends in the solution's answer: right, and longer than it must be."""
    *lines, last = solution.split("\n")
    equations = [(left.replace("x", "*"), right) for left, right in EQUATION.findall("\n".join(lines))]
    body = [*_detour(question, _drawn(words.detour, rng)), *lines]
    for turn in range(_drawn(words.check, rng)):
        lead = "Wait, let me check." if turn == 0 else "Let me check once more."
        body.append(" ".join([lead, *(f"{_spaced(left)} = {right}." for left, right in equations)]))
    if ways := [turned(*equation) for equation in equations[::-1][: _drawn(words.second, rng)]]:
        body.append(f"The other way round: {', '.join(ways)}. It fits.")
    return "<think>\n" + "\n".join(body) + f"\n</think>\n\\boxed{{{last.removeprefix('#### ')}}}"


def turned(left: str, right: str) -> str:
    """An equation turned round.

    >>> turned("13-10", "3"), turned("2 + 3 + 4", "9"), turned("6 * 2", "12")
    ('3 + 10 = 13', '9 - 4 - 3 = 2', '12 / 2 = 6')
    """
    first, *rest = re.findall(r"\d+|[-+*/]", left)
    operators, numbers = rest[::2], rest[1::2]
    back = [f" {INVERSE[o]} {n}" for o, n in zip(operators[::-1], numbers[::-1], strict=True)]
    return f"{right}{''.join(back)} = {first}"


def _detour(question: str, sentences: int) -> list[str]:
    numbers = ", ".join(re.findall(r"\d+", question))
    asked = re.findall(r"[^.?!]+\?", question)[-1].strip()
    said = [f"The numbers that I am given are {numbers}.", f"I am asked: {asked}", "I will go step by step."]
    return [" ".join(said[:sentences])] if sentences else []


def _drawn(kind: tuple[float, int], rng: random.Random) -> int:
    share, most = kind
    return rng.randint(1, most) if most and rng.random() < share else 0


def _spaced(left: str) -> str:
    return " ".join(re.findall(r"\d+|[-+*/]", left))


def taught(count: int, words: Words, templates: Sequence[int]) -> Iterator[tuple[str, str]]:
    """(prompt, completion) of problems of the split `sft`."""
    rng = random.Random(0)
    options = read_yaml(TASK)
    task = GymTask.model_validate({**options, "templates": templates or options["templates"]})
    for problem in task.problems("sft", count):
        entry = json.loads(str(problem.answer))["entry"]
        text = wordy(entry["question"], entry["metadata"]["answer_cot"], words, rng)
        yield task.template.format(prompt=problem.prompt), text


def from_nothing(texts: list[str], width: int, layers: int) -> tuple[Any, Any]:
    """A model of the architecture of the embedded one and its tokenizer, which knows the words of the texts."""
    from make_tiny_model import CHAT_TEMPLATE, END, PAD, ROLES, WORDS
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    pieces = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    core.pre_tokenizer = pre_tokenizers.Sequence(pieces)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # pyright: ignore[reportCallIssue]
    core.train_from_iterator(texts, trainer)
    core.add_tokens([AddedToken(word, special=False, normalized=False) for word in WORDS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=END, pad_token=PAD, additional_special_tokens=ROLES, padding_side="left",
        clean_up_tokenization_spaces=False, model_max_length=1024,
    )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    return blank_model(tokenizer, width, layers), tokenizer


def blank_model(tokenizer: Any, width: int, layers: int) -> Any:
    """A model of the embedded one's architecture that knows nothing yet."""
    import torch
    from make_tiny_model import END_ID, PAD_ID
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=width // 32, num_key_value_heads=width // 32, head_dim=32, max_position_embeddings=1024,
        tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        initializer_range=0.8 / width**0.5, bos_token_id=None, eos_token_id=END_ID, pad_token_id=PAD_ID,
        dtype="float32",
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    # No temperature, top_k or top_p: sampling then follows the model's own distribution.
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, eos_token_id=END_ID, pad_token_id=PAD_ID
    )
    return model


def smollm2() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (SMOLLM2 / "model.safetensors").exists():
        raise SystemExit(f"{SMOLLM2} holds no model: run `lenrl get smollm2` first")
    model = AutoModelForCausalLM.from_pretrained(SMOLLM2, dtype="bfloat16")  # the adapters stay in float32
    model.generation_config.update(do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
    tokenizer = AutoTokenizer.from_pretrained(SMOLLM2)
    tokenizer.chat_template = CHATML
    return model, tokenizer


def tokenized(tokenizer: Any, pairs: list[tuple[str, str]]) -> list[dict[str, list[int]]]:
    """Rows as TRL trains on them, the loss on completions and their end only; TRL's own tokenization takes minutes."""
    chats = [[{"role": "user", "content": prompt}] for prompt, _ in pairs]
    heads = tokenizer(
        tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    ).input_ids
    tails = tokenizer([completion + tokenizer.eos_token for _, completion in pairs]).input_ids
    return [
        {"input_ids": head + tail, "labels": [-100] * len(head) + tail}
        for head, tail in zip(heads, tails, strict=True)
    ]


def fine_tune(
    model: Any, tokenizer: Any, pairs: list[tuple[str, str]], out: Path, teaching: Teaching
) -> None:
    """TRL's own fine-tuning, the loss on completions only; continues from the newest checkpoint."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import Trainer
    from transformers.trainer_utils import get_last_checkpoint
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    aside = out.with_suffix(".sft")
    config = SFTConfig(
        output_dir=str(aside), per_device_train_batch_size=teaching.batch, num_train_epochs=1,
        learning_rate=teaching.learning_rate, lr_scheduler_type="cosine", warmup_steps=0.05, adam_beta2=0.98,
        max_length=512, train_sampling_strategy="group_by_length", save_steps=teaching.save_steps, save_total_limit=1,
        logging_steps=teaching.save_steps, report_to=[], disable_tqdm=True, seed=0, bf16=False,
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=False,
    )  # fmt: skip
    lora = LoraConfig(r=32, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM")
    generation = model.generation_config
    rows = Dataset.from_list(tokenized(tokenizer, pairs))

    class PlainLoss(SFTTrainer):
        """The model's own loss: TRL's chunked head computes in float32 where there is no Triton, a third of a step."""

        compute_loss = Trainer.compute_loss

    trainer = PlainLoss(
        model=model, args=config, train_dataset=rows, processing_class=tokenizer,
        peft_config=lora if teaching.lora else None,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(aside)))
    made: Any = trainer.model
    made = made.merge_and_unload() if teaching.lora else made
    made.generation_config = generation  # TRL puts its own
    made.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", choices=TEACHING, default="nothing")
    parser.add_argument("--out", type=Path, help=f"default: {OUT}/reasoner_BASE")
    parser.add_argument("--detour", default="0.5,3", help="share, most sentences")
    parser.add_argument("--check", default="0.8,2", help="share, most passes")
    parser.add_argument("--second", default="0.5,2", help="share, most equations")
    parser.add_argument("--templates", type=int, nargs="*", default=[], help=f"default: those of {TASK.name}")
    parser.add_argument("--updates", type=int)
    parser.add_argument("--width", type=int, default=128, help="of a model from nothing")
    parser.add_argument("--layers", type=int, default=5, help="of a model from nothing")
    options = parser.parse_args()
    out = options.out or OUT / f"reasoner_{options.base}"
    if (out / "model.safetensors").exists():
        print(f"{out} stands already")
        return
    teaching = TEACHING[options.base]
    words = Words(*map(_share, (options.detour, options.check, options.second)))
    updates = options.updates or teaching.updates
    keep_options(out.with_suffix(".sft"), {**vars(options), "out": str(out), "updates": updates})
    pairs = list(taught(updates * teaching.batch, words, options.templates))
    if options.base == "nothing":
        model, tokenizer = from_nothing(
            [text for pair in pairs[:4000] for text in pair], options.width, options.layers
        )
    else:
        model, tokenizer = smollm2()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {updates} updates", flush=True)
    fine_tune(model, tokenizer, pairs, out, teaching)
    print(f"{out} is made")


def keep_options(folder: Path, options: dict[str, Any]) -> None:
    """Writes a run's options beside its checkpoints, and refuses others where it was stopped."""
    file = folder / "options.json"
    if file.exists() and json.loads(file.read_text()) != options:
        raise SystemExit(
            f"{folder} was begun with other options: {file.read_text()}; repeat them, or remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(options))


def _share(text: str) -> tuple[float, int]:
    share, most = text.split(",")
    return float(share), int(most)


if __name__ == "__main__":
    main()
