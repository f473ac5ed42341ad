"""`lenrl eval`: accuracy and tokens of models on the same problems."""

from __future__ import annotations

import argparse
import itertools
import re
import textwrap
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lenrl.cli.arguments import Parser
from lenrl.errors import BadInput

EXAMPLES = (
    "lenrl eval tiny task=chain greedy=true",
    "lenrl eval tiny samples=8 --sft shortest.jsonl",
    "lenrl eval --answers answers.jsonl",
    "lenrl eval org/model engine=server server_url=http://localhost:8000/v1 task=gsm8k",
    "lenrl eval tiny outputs/demo/model task=chain task.test=500 samples=4 --out outputs/compared",
    "lenrl eval org/model task=problems.jsonl samples=8 max_new_tokens=8192 temperature=0.6",
    "lenrl eval org/model outputs/drpo/NAME/model task=aime24 samples=16 max_new_tokens=32768 temperature=0.6",
)
OPTIONS = {  # option: what it holds, after `lenrl.evaluation.evaluate.evaluate`
    "samples": int,
    "greedy": bool,
    "max_new_tokens": int,
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "batch_size": int,
    "seed": int,
    "budget": int,
    "vote_width": int,
    "split": str,
    "device": str,
    "dtype": str,
    "revision": str,
    "tokenizer": str,
    "think_prefilled": bool,
    "trust_remote_code": bool,
    "engine": str,
    "server_url": str,
}
SECTIONS = ("task", "verifier")


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "eval",
        "Accuracy and tokens with 95 % intervals; several models get the same prompts, and paired\n"
        "differences. MODEL: tiny, a folder, a run's folder, or a hub id. Settings:\n"
        "  task=NAME (chain, aime24, math500, ...), or task=FILE.jsonl with prompt, answer and optionally\n"
        "  difficulty; task.X=...\n"
        f"{textwrap.fill(', '.join(OPTIONS), 96, initial_indent='  ', subsequent_indent='  ')}\n"
        "  verifier.X=...\n"
        "engine=vllm samples with vLLM, engine=server server_url=http://HOST:PORT/v1 asks a server.\n"
        "The same command with the same --out continues an evaluation that was stopped.",
        EXAMPLES,
    )
    parser.add_argument("words", nargs="*", metavar="MODEL | key=value")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for eval.json and completions")
    parser.add_argument(
        "--sft",
        type=Path,
        metavar="NEW.jsonl",
        help="write the shortest correct completions, for fine-tuning",
    )
    parser.add_argument(
        "--answers",
        type=Path,
        metavar="FILE.jsonl",
        help="measure answers instead of a model: YapIndex, Ruler, win rates (docs/measures.md)",
    )
    given = parser.read(arguments)
    if given.answers is not None:
        return _answers(given)

    models, settings = divide(given.words)
    if not models:
        raise BadInput("lenrl eval: no model is given. Name one or more: tiny, a folder, or a hub id.")
    out = given.out or _new_folder()

    from rich.console import Console

    from lenrl.evaluation.evaluate import evaluate
    from lenrl.report import summary

    task, verifier = settings.pop("task"), settings.pop("verifier")
    console = Console()
    try:
        result = evaluate(
            models, task, out_dir=out, sft=given.sft, verifier_settings=verifier, console=console, **settings
        )
    except BaseException:
        with suppress(OSError):  # not there, or not empty
            out.rmdir()
        if given.out is None and out.exists():
            said = f"What was sampled is kept: the same command with --out {out} continues."
            console.print(said, soft_wrap=True)
        raise
    summary.show(result, console, out)
    return 0


def _answers(given: argparse.Namespace) -> int:
    if given.words or given.sft:
        raise BadInput("lenrl eval --answers measures a file: give no model, no setting and no --sft.")
    from rich.console import Console

    from lenrl.evaluation import answers

    answers.show(answers.measure(given.answers, given.out), Console())
    return 0


def _new_folder() -> Path:
    """`outputs/eval-TIME`, made here so that two evaluations of one second have two."""
    stem = f"outputs/eval-{time.strftime('%Y%m%d-%H%M%S')}"
    for name in itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2))):
        try:
            Path(name).mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as fault:
            raise BadInput(f"{name} can't be made: {fault.strerror}. Give --out DIR.") from None
        return Path(name)
    raise AssertionError("never reached")


def divide(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Models and settings: a word is a setting if it looks like `key=` and is no existing path.

    Raises:
        BadInput: an unknown option, or a value that is not of the option's kind.
    """
    models = [word for word in words if Path(word).exists() or not re.match(r"[A-Za-z_][\w.]*=", word)]
    lines = [word for word in words if word not in models]
    from lenrl.config import group, group_choices, sections

    # A task is often a path, which the grammar would have in quotes.
    named = [line.removeprefix("task=") for line in lines if line.startswith("task=")]
    found = sections([line for line in lines if not line.startswith("task=")], (*OPTIONS, *SECTIONS))
    task: Any = named[-1] if named else "chain"
    extra = found.pop("task", None)
    if task in group_choices("task"):  # a file of recipes/task/
        task = {**group("task", task), **(extra or {})}
    elif extra:
        from lenrl.tasks import build

        data = build(task) if "." in task or "/" in task else None
        start = {"name": task} if data is None else data.model_dump(exclude_unset=True)
        task = {**start, **extra}
    settings: dict[str, Any] = {"task": task, "verifier": found.pop("verifier", None)}
    for key, value in found.items():
        settings[key] = _checked(key, value)
    return models, settings


def _checked(key: str, value: Any) -> Any:
    kind = OPTIONS[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is not None and type(value) is not kind:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise BadInput(f"{key}={value!r}: needs {names[kind]}.")
    return value
