"""wandb, trackio, tensorboard and mlflow, next to the local log, over all legs of a run."""

import os
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerState, TrainingArguments

from lenrl.config import LoggingSettings
from lenrl.files import read_json, write_json
from lenrl.monitors.aside import Aside, Preparation

FILE = "trackers.json"  # of a run's folder: ids by tracker
SILENT = "silent"  # key in there: trackers that did not answer
PATIENCE_S = 30.0  # at the end of a run, once for all trackers together: what is local is complete
CLOSE_S = 3.0  # the same, where the run is to leave


def set_aside(
    callbacks: list[TrainerCallback],
    kinds: Sequence[type],
    run_dir: Path,
    settings: LoggingSettings | None,
) -> None:
    """Wrap the callbacks of these kinds in `Aside`, in place; a process without settings loses them."""
    if settings is not None:
        _note_silent(run_dir, [])
    for place, callback in reversed(list(enumerate(callbacks))):
        if not isinstance(callback, tuple(kinds)):
            continue
        if settings is None:
            del callbacks[place]
            continue
        tracker = TRACKERS.get(type(callback).__name__)
        callbacks[place] = (
            Aside(callback, tracker.begin(callback, run_dir, settings)) if tracker else Aside(callback)
        )


def close(
    callbacks: Iterable[TrainerCallback], run_dir: Path, patience_s: float, *, finish: bool = False
) -> None:
    """Wait for the trackers' last events, for all of them together so many seconds: the training has ended.

    `finish`: so has what this process has to say to them. Those that do not answer are noted for `silent`.
    """
    asides = [callback for callback in callbacks if isinstance(callback, Aside)]
    for aside in asides if finish else ():
        if aside.name in TRACKERS and (end := TRACKERS[aside.name].finish) is not None:
            aside.end(end)
    until = time.monotonic() + patience_s
    for aside in asides:
        aside.flush(until)
    if names := [TRACKERS[aside.name].name for aside in asides if aside.silent and aside.name in TRACKERS]:
        _note_silent(run_dir, names)


def silent(run_dir: Path) -> list[str]:
    """Trackers that did not answer in the newest leg of the folder's run: nothing waits for them again."""
    content = read_json(run_dir / FILE)
    return content.get(SILENT, []) if isinstance(content, dict) else []


def _note_silent(run_dir: Path, names: list[str]) -> None:
    if names or silent(run_dir):
        content = read_json(run_dir / FILE)
        known = content if isinstance(content, dict) else {}
        with suppress(OSError):  # then they are waited for once more
            write_json(run_dir / FILE, {**known, SILENT: names}, indent=None)


def _wandb(callback: TrainerCallback, run_dir: Path, settings: LoggingSettings) -> Preparation:
    def begin(args: TrainingArguments, state: TrainerState) -> None:
        import wandb

        if wandb.run is None:  # else somebody has begun a run for this process
            identity = run_id(run_dir, "wandb", os.environ.get("WANDB_RUN_ID"))
            project = os.environ.get("WANDB_PROJECT") or args.project
            wandb.init(
                project=project, name=args.run_name, id=identity, resume="allow", dir=wandb_folder(run_dir),
                entity=settings.entity, group=settings.group, tags=settings.tags or None, notes=settings.notes,
            )  # fmt: skip

    return begin


def _finish_wandb() -> None:
    import wandb

    wandb.finish()


def wandb_folder(run_dir: Path) -> str | None:
    """The place of wandb's files: the run's folder, in which it makes `wandb/`; None: the environment says where."""
    return None if "WANDB_DIR" in os.environ else str(run_dir)


def _trackio(callback: TrainerCallback, run_dir: Path, settings: LoggingSettings) -> Preparation:
    def begin(args: TrainingArguments, state: TrainerState) -> None:
        # trackio resumes by name: two folders with runs of one name must not become one run
        args.run_name = trackio_name(args.run_name, run_dir)

    return begin


def _tensorboard(callback: Any, run_dir: Path, settings: LoggingSettings) -> Preparation:
    def begin(args: TrainingArguments, state: TrainerState) -> None:
        # Without it each leg would have a folder of its own; what a killed leg wrote past the checkpoint is hidden.
        folder = callback.logging_dir or str(run_dir / "tensorboard")
        callback.tb_writer = callback._SummaryWriter(log_dir=folder, purge_step=state.global_step + 1)

    return begin


def _mlflow(callback: TrainerCallback, run_dir: Path, settings: LoggingSettings) -> Preparation:
    def begin(args: TrainingArguments, state: TrainerState) -> None:
        import mlflow  # pyright: ignore[reportMissingImports] - an extra

        if mlflow.active_run() is not None or "MLFLOW_RUN_ID" in os.environ:  # somebody has chosen a run
            return
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or settings.project)
        known = known_id(run_dir, "mlflow")
        run = mlflow.start_run(run_id=known, run_name=None if known else args.run_name)
        run_id(run_dir, "mlflow", run.info.run_id)

    return begin


def _finish_mlflow() -> None:
    import mlflow  # pyright: ignore[reportMissingImports] - an extra

    mlflow.end_run()


class Tracker(NamedTuple):
    """One of transformers' integrations, as its runs go on over the legs of ours."""

    name: str  # in `logging.report_to`
    # Makes it continue the run that an earlier leg began
    begin: Callable[[Any, Path, LoggingSettings], Preparation]
    finish: Callable[[], None] | None = None  # what its callback leaves to the end of the process


TRACKERS = {
    "WandbCallback": Tracker("wandb", _wandb, _finish_wandb),
    "TrackioCallback": Tracker("trackio", _trackio),
    "TensorBoardCallback": Tracker("tensorboard", _tensorboard),
    "MLflowCallback": Tracker("mlflow", _mlflow, _finish_mlflow),
}
"""By the callback's class."""


def trackio_name(run_name: str | None, run_dir: Path) -> str:
    """The name under which trackio knows the run of this folder."""
    return f"{run_name}-{run_id(run_dir, 'trackio')}"


def known_id(run_dir: Path, tracker: str) -> str | None:
    """The tracker's name for the run of this folder, if it has one."""
    content = read_json(run_dir / FILE)
    return content.get(tracker) if isinstance(content, dict) else None


def run_id(run_dir: Path, tracker: str, chosen: str | None = None) -> str:
    """The tracker's name for the run of this folder: `chosen`, else the one in `trackers.json`, else a new one."""
    path = run_dir / FILE
    content = read_json(path)
    known = content if isinstance(content, dict) else {}
    identity = chosen or known.get(tracker) or secrets.token_hex(4)
    if known.get(tracker) != identity:
        write_json(path, {**known, tracker: identity}, indent=None)
    return identity
