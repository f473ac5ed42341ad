"""The data of a run by their hashes, in `data.json` of its folder: a trained run says when they have changed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lenrl.errors import BadInput
from lenrl.files import read_json, write_text
from lenrl.generation.pretrained import load_tokenizer_info, room
from lenrl.tasks.base import digest
from lenrl.tasks.problem import Problem
from lenrl.training.audited_data import audited
from lenrl.training.prepare import CheckedRun
from lenrl.verify.several import verifier_of

NAME = "data.json"


def data_digest(checked_run: CheckedRun, problems: Sequence[Problem]) -> str:
    """Short hash of problems, with the columns that the run's strategies, verifier or reward functions read."""
    method, known = checked_run.method, dict.fromkeys(name for p in problems for name in p.columns)
    read = {*method.reads_columns, *checked_run.verifier.reads_columns}
    read.update(*(function.taken(known) for function in method.functions))
    return digest(checked_run.task, problems, sorted(read & known.keys()))


def write(run_dir: Path, checked_run: CheckedRun, kept: Mapping[str, Sequence[Problem]]) -> None:
    """Note the problems of each split."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_text(run_dir / NAME, json.dumps(_hashes(checked_run, kept), indent=2) + "\n")


def refuse_other(run_dir: Path, checked_run: CheckedRun) -> None:
    """Refuse data that are not those that the folder's run was trained and measured on.

    Raises:
        BadInput: prompts, answers or columns that the run reads have changed since; or what `audited` refuses.
    """
    noted = read_json(run_dir / NAME)
    if not isinstance(noted, dict):
        return
    model = checked_run.recipe.model
    info = load_tokenizer_info(model.path, model, needs_config=True)
    longest = room(info.context, checked_run.run_info.max_length)
    with verifier_of(checked_run.verifier) as verifier:
        kept, _, _ = audited(checked_run, info.tokenizer, verifier, longest)
    now = _hashes(checked_run, kept)
    changed = [
        f"- {s}: {noted.get(s)}\n+ {s}: {now.get(s)}" for s in {**noted, **now} if noted.get(s) != now.get(s)
    ]
    if changed:
        lines = "\n".join(changed)
        raise BadInput(
            f"{run_dir} holds a run that was trained on other problems, answers or columns than task "
            f"{checked_run.task.name!r} gives now:\n{lines}\nPut the data back, or choose another folder with name=... "
            "or output_dir=..."
        )


def _hashes(checked_run: CheckedRun, kept: Mapping[str, Sequence[Problem]]) -> dict[str, str]:
    return {split: f"{len(rows)} problems, {data_digest(checked_run, rows)}" for split, rows in kept.items()}
