"""Shortest (longest, first) correct completions as a data set for supervised fine-tuning (arXiv 2502.18080)."""

import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lenrl import measures
from lenrl.errors import BadInput
from lenrl.evaluation.results import ModelResults
from lenrl.files import write_text
from lenrl.tasks import Task, encode, messages, render


def refuse(path: Path, models: int, decodings: int) -> None:
    """Refuse what can't be written, before anything is sampled.

    Raises:
        BadInput: several models or decodings, a file that is there, or no folder for it.
    """
    if models * decodings > 1:
        raise BadInput(
            f"--sft takes the completions of one model under one decoding, and here are {models} models and "
            f"{decodings} decodings, whose lengths do not compare; give one model, and samples=N or greedy=true"
        )
    if path.exists():
        raise BadInput(f"--sft {path}: is there already and is not overwritten; give a new name")
    if not path.parent.is_dir():
        raise BadInput(f"--sft {path}: no folder {path.parent}; make it first")


def write(
    path: Path, task: Task, results: ModelResults, tokenizer: PreTrainedTokenizerBase, pick: str = "shortest"
) -> int:
    """Write a row for each prompt that was solved, its shortest correct completion; returns their number.

    `pick`: one of `measures.PICKS` in place of the shortest.

    `prompt` is the text that the model read, template included, and `completion` what it wrote, without
    end-of-text token: chat templates drop the thinking from an assistant's message. TRL's `SFTTrainer`
    takes the file as it is.
    """
    correct, tokens = results.answers.correct_PS, results.answers.tokens_PS
    S = tokens.shape[1]
    rows = []
    for number, chosen in enumerate(
        measures.pick_correct(correct, tokens, results.answers.truncated_PS, pick)
    ):
        if chosen is None:
            continue
        problem = results.problems[number]
        row = {
            "prompt": _prompt_text(tokenizer, messages(task, problem)),
            "completion": results.texts[number * S + chosen],
            "tokens": int(tokens[number, chosen]),
            "prompt_id": problem.id,
            "correct": int((correct[number] == 1).sum()),
            "samples": S,
        }
        rows.append(json.dumps(row) + "\n")
    try:
        write_text(path, "".join(rows))
    except OSError as error:
        raise BadInput(
            f"--sft {path}: {error.strerror or error}; choose a file that can be written"
        ) from error
    return len(rows)


def _prompt_text(tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]]) -> str:
    """Text of a prompt, without a first token that the tokenizer will put before any text once more."""
    text, bos = render(tokenizer, chat), str(tokenizer.bos_token or "")
    if bos and text.startswith(bos) and tokenizer(text)["input_ids"] != encode(tokenizer, chat):
        return text.removeprefix(bos)
    return text
