"""One leg of a script's run: its folder is held and checked, and where it goes on is found."""

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import yaml
from accelerate.utils import broadcast_object_list

from lenrl.config import plugin_files
from lenrl.config.difference import difference
from lenrl.config.yaml_files import read_yaml
from lenrl.errors import BadInput, LenrlError, RunFailed
from lenrl.files import write_json
from lenrl.launch.environment import environment
from lenrl.launch.run_folder import locked, write_file
from lenrl.training import checkpoint
from lenrl.training.prepare import CheckedRun

log = logging.getLogger("lenrl")
T = TypeVar("T")


def hold(folder: Path, stack: ExitStack) -> None:
    """Hold a run's folder for as long as the stack is open.

    Raises:
        BadInput: another process holds it, or it can't be written.
    """
    stack.enter_context(locked(folder, "run"))


def on_main(is_main: bool, work: Callable[[], T]) -> T:
    """Result of the main process's work; its error, on every process.

    Raises:
        LenrlError: where the main process raises one, or, on the others, anything else.
    """
    outcome: list[object] = [None]
    try:
        if is_main:
            outcome = [work()]
    except LenrlError as fault:
        outcome = [fault]
    except BaseException as fault:  # the others would wait for it
        broadcast_object_list([RunFailed(f"the main process raised {type(fault).__name__}: {fault}")])
        raise
    [value] = broadcast_object_list(outcome)
    if isinstance(value, LenrlError):
        raise value
    return value  # type: ignore[return-value]


def begin(run: CheckedRun, folder: Path, resume: bool | str | None, processes: int) -> Path | None:
    """The checkpoint that the run goes on from, None: it begins; the folder then holds the run's description.

    Args:
        resume: TRL's `resume_from_checkpoint`.

    Raises:
        BadInput: the folder holds another run, or checkpoints that the call does not ask to continue.
    """
    checkpoint.clean(folder)
    with_changes = run.recipe.resume_with_changes
    if (former := folder / "recipe.yaml").is_file():
        changes = difference(read_yaml(former) or {}, run.identity)
        if changes and not with_changes:
            raise BadInput(
                f"{folder} holds the run of another script:\n{changes}\nChoose another args.output_dir, or continue "
                "all the same with LenrlTrainer(..., resume_with_changes=True)."
            )
    start = None
    if resume:
        start = checkpoint.chosen(folder, "auto" if resume is True else str(resume))
        if start is None:
            log.warning("%s holds no checkpoint: the run begins", folder)
        else:
            checkpoint.accept(start, recipe=run.identity, processes=processes, with_changes=with_changes)
    elif there := checkpoint.newest_good(folder):
        raise BadInput(
            f"{folder} holds {there.name} of an earlier run. Continue it by "
            "trainer.train(resume_from_checkpoint=True), or begin anew with another args.output_dir."
        )
    text = yaml.safe_dump({**run.recipe.resolved(), **run.code}, sort_keys=False, allow_unicode=True)
    write_file(folder / "recipe.yaml", text)
    plugin_files.write_copies(run.recipe.plugins, folder)
    write_file(folder / "environment.json", json.dumps(environment(processes), indent=2) + "\n")
    for stale in ("training.json", "summary.json"):
        (folder / stale).unlink(missing_ok=True)
    return start


def finish(folder: Path, summary: dict) -> None:
    """Write down that the run is trained."""
    write_json(folder / "training.json", summary)
