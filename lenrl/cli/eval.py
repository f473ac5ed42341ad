"""`lenrl eval`: accuracy and tokens of models on the same problems."""

from __future__ import annotations

import argparse
import itertools
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl.cli.arguments import Parser, completed
from lenrl.errors import BadInput, validated
from lenrl.terminal import Terminal

if TYPE_CHECKING:
    from lenrl.evaluation.settings import EvalSettings
    from lenrl.tasks import Task

EXAMPLES = (
    "lenrl eval tiny task=chain greedy=true",
    "lenrl eval tiny samples=8 --sft shortest.jsonl",
    "lenrl eval --answers answers.jsonl",
    "lenrl eval org/model 'controls=[force@512, stop@2, exit@0.95, nothink]'",
    "lenrl eval org/model engine=server server_url=http://localhost:8000/v1 task=gsm8k",
    "lenrl eval tiny outputs/demo/model task=chain task.test=500 samples=4 --out outputs/compared",
    "lenrl eval org/model task=problems.jsonl samples=8 max_new_tokens=8192 temperature=0.6",
    "lenrl eval org/model outputs/drpo/NAME/model task=aime24 samples=16 max_new_tokens=32768 temperature=0.6",
)
# The fields of `lenrl.evaluation.settings.EvalSettings` that have no section: help must not load pydantic.
OPTIONS = (
    "samples", "greedy", "max_new_tokens", "temperature", "top_p", "top_k", "batch_size", "seed", "budget",
    "vote_width", "split", "controls", "hints", "logps", "sft_pick", "device", "dtype", "revision", "tokenizer",
    "chat_template", "think_prefilled", "trust_remote_code", "engine", "server_url", "structure", "judge_url",
    "judge_model", "judge_prompts", "judge_samples", "judge_tokens",
)  # fmt: skip
SECTIONS = ("task", "verifier", "control")


def _parser() -> Parser:
    parser = Parser(
        "eval",
        "Accuracy and tokens with 95 % intervals; several models get the same prompts, and paired "
        "differences. MODEL: tiny, a folder, a run's folder, or a hub id. Settings:\n"
        "  task=NAME (chain, aime24, math500, ...), or task=FILE.jsonl with prompt, answer and optionally "
        "difficulty; task.X=...; of a run without task=: the data of its recipe's `evals`\n"
        f"  {', '.join(OPTIONS)}\n"
        "  verifier.X=...\n"
        "  controls=[force@512, stop@2, ...]: ways to think shorter without training; control.X=...\n"
        "  hints=true: models of runs also with the words of their own budget\n"
        "engine=vllm samples with vLLM, engine=server server_url=http://HOST:PORT/v1 asks a server.\n"
        "The same command with the same --out continues an evaluation that was stopped.",
        EXAMPLES,
    )
    words = parser.add_argument("words", nargs="*", metavar="MODEL | key=value")
    completed(words, "settings", names=("tiny", "task=", "task.", "verifier.", *map("{}=".format, OPTIONS)))
    parser.add_argument("--out", type=Path, metavar="DIR", help="for eval.json and completions")
    parser.add_argument(
        "--sft",
        type=Path,
        metavar="NEW.jsonl",
        help="write the shortest correct completions, for fine-tuning (sft_pick=longest, first)",
    )
    parser.add_argument(
        "--answers",
        type=Path,
        metavar="FILE.jsonl",
        help="measure answers instead of a model: YapIndex, Ruler, win rates (docs/measures.md)",
    )
    parser.plugin()
    return parser


def main(arguments: Sequence[str]) -> int:
    options = _parser().read(arguments)
    if options.answers is not None:
        return _answers(options)
    _load_plugins(options)

    models, task, settings = divide(options.words)
    if not models:
        raise BadInput("lenrl eval: no model is given. Name one or more: tiny, a folder, or a hub id.")
    others = [] if _names_task(options.words) else _others(models, options.words)
    if others and options.sft:
        raise BadInput("lenrl eval --sft takes one task: name it, task=NAME; the run has `evals`.")
    out = options.out or _new_folder()

    from lenrl.evaluation.evaluate import evaluate
    from lenrl.report import summary

    console = Terminal()
    try:
        for name, other, its_settings in others:
            result = evaluate(models, other, its_settings, out_dir=out / name, console=console)
            summary.show(result, console, out / name)
        if others:
            return 0
        result = evaluate(models, task, settings, out_dir=out, sft=options.sft, console=console)
    except BaseException:
        with suppress(OSError):  # not there, or not empty
            out.rmdir()
            if options.out is None:
                out.parent.rmdir()
        if options.out is None and out.exists():
            message = f"What was sampled is kept: the same command with --out {out} continues."
            console.print(message, soft_wrap=True)
        raise
    summary.show(result, console, out)
    return 0


def _load_plugins(options: argparse.Namespace) -> None:
    """The files of --plugin, and the copies that the runs among the models hold of theirs."""
    # `Path.is_dir` raises of a long word
    places = [Path(word) for word in options.words if os.path.isdir(word)]
    if options.plugin or places:
        from lenrl.config import plugin_files

        plugin_files.load_of_runs(places, plugin_files.load(options.plugin))


def _answers(options: argparse.Namespace) -> int:
    if options.words or options.sft:
        raise BadInput("lenrl eval --answers measures a file: give no model, no setting and no --sft.")

    from lenrl.evaluation import answers

    answers.show(answers.measure(options.answers, options.out), Terminal())
    return 0


def _names_task(words: Sequence[str]) -> bool:
    return any(word.startswith(("task=", "task.")) and not os.path.exists(word) for word in words)


def _others(models: Sequence[str], words: Sequence[str]) -> list[tuple[str, Task, EvalSettings]]:
    """The data of the `evals` of the first model's run, by name, with the settings of the command on top."""
    from lenrl.config.yaml_files import read_yaml

    recipe = Path(models[0]) / "recipe.yaml"
    with suppress(BadInput):
        plain = read_yaml(recipe)
        if not isinstance(plain, dict) or not plain.get("evals"):
            return []
    if not recipe.is_file():
        return []
    from lenrl.config import compose, sections
    from lenrl.evaluation import other_data

    # trust_remote_code=true: of this command alone
    run = compose(str(recipe), ["model.trust_remote_code=false"])
    given = sections([word for word in words if word not in models], (*OPTIONS, "verifier"))
    return [
        (entry.name, other_data.task_of(entry), other_data.settings_of(entry, run, **given))
        for entry in run.evals
    ]


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


def divide(words: Sequence[str]) -> tuple[list[str], str | dict[str, Any], EvalSettings]:
    """Models, task and settings: a word is a setting if it looks like `key=` and is no existing path.

    Raises:
        BadInput: an unknown option, or a value that is not of the option's kind or out of bounds.
    """
    models = [word for word in words if os.path.exists(word) or not re.match(r"[A-Za-z_][\w.]*=", word)]
    lines = [word for word in words if word not in models]
    from lenrl.config import group, group_choices, options_of, sections
    from lenrl.evaluation.settings import EvalSettings

    # A task is often a path, which the grammar would have in quotes.
    named = [line.removeprefix("task=") for line in lines if line.startswith("task=")]
    values = sections([line for line in lines if not line.startswith("task=")], (*OPTIONS, *SECTIONS))
    task: str | dict[str, Any] = named[-1] if named else "chain"
    extra = values.pop("task", None)
    if task in group_choices("task"):  # a file of recipes/task/
        task = options_of({**group("task", task), **(extra or {})})
    elif extra:
        from lenrl.tasks import build

        data = build(task) if "." in task or "/" in task else None
        start = {"name": task} if data is None else data.model_dump(exclude_unset=True)
        task = {**start, **extra}
    return models, task, validated(EvalSettings, values)
