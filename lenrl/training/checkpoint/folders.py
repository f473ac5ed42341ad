"""A run's checkpoints: the one that it goes on from, and those that stay."""

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lenrl.config.difference import difference
from lenrl.errors import BadInput
from lenrl.training.checkpoint.atomic import PARTIAL
from lenrl.training.checkpoint.manifest import faults, read_state

log = logging.getLogger("lenrl")

SET_ASIDE = "set-aside"  # in the run's folder: checkpoints that the run no longer leads to; never deleted
_FOLDER = re.compile(r"checkpoint-(\d+)")
_SHOWN = 3  # faults a message lists


def step_of(folder: Path) -> int:
    """The optimizer step in a checkpoint's name."""
    match = _FOLDER.fullmatch(folder.name)
    if match is None:
        raise BadInput(f"{folder} is not a checkpoint: its name must be checkpoint-STEP.")
    return int(match[1])


def checkpoints(run_dir: Path) -> list[Path]:
    """A run's checkpoints, whole or not, oldest first."""
    return sorted(
        (p for p in run_dir.glob("checkpoint-*") if p.is_dir() and _FOLDER.fullmatch(p.name)), key=step_of
    )


def newest_good(run_dir: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None where there is none at all.

    Damaged ones are passed over with a warning.

    Raises:
        BadInput: there are checkpoints, and none is whole; or the newest whole one has another format.
    """
    passed = []
    for folder in reversed(checkpoints(run_dir)):
        wrong = faults(folder)
        if not wrong:
            return folder
        log.warning("passing over a damaged checkpoint, %s: %s", folder, "; ".join(wrong[:_SHOWN]))
        if any(folder.iterdir()):  # an empty folder holds nothing that could be lost
            passed.append(wrong[0])
    if passed:
        raise BadInput(
            f"none of the checkpoints of {run_dir} is whole: {'; '.join(passed[:_SHOWN])}. Put a whole one back, or "
            "remove them to begin anew."
        )
    return None


def chosen(run_dir: Path, resume: str, *, checksums: bool = True) -> Path | None:
    """The checkpoint to start from: `auto` takes the newest good one, `never` none, else that folder.

    Raises:
        BadInput: the named folder is no whole checkpoint of this run, or `never` where there are checkpoints.
    """
    if resume == "never":
        if there := [p.name for p in checkpoints(run_dir)]:
            raise BadInput(
                f"resume=never, and {run_dir} holds {', '.join(there[:3])}. Remove them, choose another folder with "
                "name=... or output_dir=..., or continue with resume=auto."
            )
        return None
    if resume == "auto":
        return newest_good(run_dir)
    folder = Path(resume).expanduser().absolute()
    step_of(folder)
    wrong = faults(folder, checksums=checksums) if folder.is_dir() else [f"{folder} does not exist"]
    if wrong:
        raise BadInput(
            f"resume={resume}: {'; '.join(wrong[:_SHOWN])}. Name a whole checkpoint, or resume=auto."
        )
    return folder


def accept(start: Path, *, recipe: Mapping[str, Any], processes: int, with_changes: bool) -> None:
    """Refuse a checkpoint from which the run could only go on wrongly.

    Args:
        start: a whole checkpoint.
        recipe: what shapes the result now (`Recipe.identity()`).
        processes: of this launch.
        with_changes: the recipe may differ (`resume_with_changes`).

    Raises:
        BadInput: it is of another number of processes or another recipe.
    """
    state = read_state(start)
    if (then := state["processes"]) != processes:
        raise BadInput(
            f"{start} was written by {then} processes, this launch has {processes}: batches, data order and random "
            f"states would not go on. Launch it with {then} (launch.num_processes={then}), or begin anew with name=..."
        )
    changes = difference(state["recipe"], recipe)
    if changes and not with_changes:
        raise BadInput(
            f"{start} is of another recipe:\n{changes}\nChoose another folder with name=... or output_dir=..., or "
            "continue all the same with resume_with_changes=true."
        )
    if changes:
        log.warning("continuing %s with another recipe:\n%s", start, changes)


def clean(run_dir: Path) -> None:
    """Remove what a killed run left half-written."""
    shutil.rmtree(run_dir / PARTIAL, ignore_errors=True)


def set_aside_after(run_dir: Path, start: Path | None) -> None:
    """Move the checkpoints that are newer than the start out of the way, so that `auto` can't take them up.

    They are damaged, or belong to a course that `resume=PATH` has left; from another run's checkpoint on, all of
    them do. Nothing is deleted.
    """
    start = start and start.resolve()  # it may be named through a link
    begin = step_of(start) if start is not None and start.parent == run_dir.resolve() else -1
    for folder in checkpoints(run_dir):
        if step_of(folder) <= begin:
            continue
        keep = run_dir / SET_ASIDE
        keep.mkdir(exist_ok=True)
        names = [folder.name, *(f"{folder.name}.{n}" for n in range(1, 1 + len(list(keep.iterdir()))))]
        target = next(keep / name for name in names if not (keep / name).exists())
        folder.rename(target)
        log.warning("%s is newer than where this run goes on; it is now %s", folder, target)


def rotate(run_dir: Path, limit: int | None, best: Path | None) -> None:
    """Delete the oldest checkpoints over `limit`, but neither the newest nor the best.

    Called when the newest one is in its place.
    """
    if limit is None:
        return
    folders = checkpoints(run_dir)
    kept = {folders[-1], *([best] if best in folders else [])} if folders else set()
    others = [p for p in folders if p not in kept]
    room = max(0, limit - len(kept))
    for folder in others[: max(0, len(others) - room)]:
        shutil.rmtree(folder, ignore_errors=True)
