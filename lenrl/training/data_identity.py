"""The data of a run by their hashes, in `data.json` of its folder: a trained run says when they have changed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lenrl.errors import BadInput
from lenrl.files import read_json, write_text
from lenrl.generation.pretrained import load_tokenizer_info, room
from lenrl.tasks.base import Task, digest
from lenrl.tasks.problem import Problem
from lenrl.training.audited_data import audited
from lenrl.training.prepare import CheckedRun
from lenrl.verify.several import verifier_of

NAME = "data.json"


def write(run_dir: Path, task: Task, kept: Mapping[str, Sequence[Problem]]) -> None:
    """Note the problems of each split."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(run_dir / NAME, json.dumps(_hashes(task, kept), indent=2) + "\n")


def refuse_other(run_dir: Path, checked_run: CheckedRun) -> None:
    """Refuse data that are not those that the folder's run was trained and measured on.

    Raises:
        BadInput: prompts or answers have changed since; or what `audited` refuses.
    """
    noted = read_json(run_dir / NAME)
    if not isinstance(noted, dict):
        return
    model = checked_run.recipe.model
    info = load_tokenizer_info(model.path, model, needs_config=True)
    longest = room(info.context, checked_run.run_info.max_length)
    with verifier_of(checked_run.verifier) as verifier:
        kept, _, _ = audited(checked_run, info.tokenizer, verifier, longest)
    now = _hashes(checked_run.task, kept)
    changed = [
        f"- {s}: {noted.get(s)}\n+ {s}: {now.get(s)}" for s in {**noted, **now} if noted.get(s) != now.get(s)
    ]
    if changed:
        lines = "\n".join(changed)
        raise BadInput(
            f"{run_dir} holds a run that was trained on other problems or answers than task "
            f"{checked_run.task.name!r} gives now:\n{lines}\nPut the data back, or choose another folder with name=... "
            "or output_dir=..."
        )


def _hashes(task: Task, kept: Mapping[str, Sequence[Problem]]) -> dict[str, str]:
    return {split: f"{len(problems)} problems, {digest(task, problems)}" for split, problems in kept.items()}
