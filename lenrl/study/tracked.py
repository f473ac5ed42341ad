"""The report of a finished run, to the trackers that its metrics went to; what they do wrong costs the run nothing."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl.engine.trackers import run_id
from lenrl.redact import redacted

if TYPE_CHECKING:
    from lenrl.config import Recipe

log = logging.getLogger("lenrl")

FILES = ("report.html", "recipe.yaml", "eval.json", "summary.json")
PATIENCE_S = 60.0  # for one tracker


def hand_over(run_dir: Path, recipe: Recipe) -> None:
    """Give report, recipe and figures to the run's trackers, as an artifact where they know such a thing."""
    files = [run_dir / name for name in FILES if (run_dir / name).is_file()]
    for tracker in recipe.logging.report_to:
        if (give := GIVING.get(tracker)) is not None:
            _bounded(tracker, give, run_dir, recipe, files)


def _bounded(tracker: str, give: Callable[..., None], *given: Any) -> None:
    """In a thread of its own, and not for long: a tracker may wait for a network for ever."""
    faults: list[BaseException] = []

    def work() -> None:
        try:
            give(*given)
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=work, daemon=True, name=f"report to {tracker}")
    thread.start()
    thread.join(PATIENCE_S)
    if thread.is_alive():
        log.warning(
            "%s did not take the report within %.0f s; it is in the run's folder", tracker, PATIENCE_S
        )
    for fault in faults:
        said = redacted(f"{type(fault).__name__}: {fault}")[:300]
        log.warning("%s did not take the report (%s); it is in the run's folder", tracker, said)


def _wandb(run_dir: Path, recipe: Recipe, files: list[Path]) -> None:
    import wandb

    project = os.environ.get("WANDB_PROJECT") or recipe.logging.project
    identity = run_id(run_dir, "wandb", os.environ.get("WANDB_RUN_ID"))
    with wandb.init(project=project, id=identity, resume="allow") as run:
        artifact = wandb.Artifact(f"report-{identity}", type="report")
        for path in files:
            artifact.add_file(str(path))
        run.log_artifact(artifact)


def _trackio(run_dir: Path, recipe: Recipe, files: list[Path]) -> None:
    import trackio

    identity = run_id(run_dir, "trackio")
    trackio.init(
        project=recipe.logging.project, name=f"{recipe.recipe}/{run_dir.name}-{identity}", resume="allow"
    )
    try:
        artifact = trackio.Artifact(f"report-{identity}", type="report")
        for path in files:
            artifact.add_file(str(path))
        trackio.log_artifact(artifact)
    finally:
        trackio.finish()


def _tensorboard(run_dir: Path, recipe: Recipe, files: list[Path]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(
        str(run_dir / "tensorboard")
    ) as writer:  # which shows no pages: where it is, and the figures
        for path in files:
            text = str(path) if path.suffix == ".html" else path.read_text()
            writer.add_text(path.name, f"```\n{text}\n```")


GIVING = {"wandb": _wandb, "trackio": _trackio, "tensorboard": _tensorboard}
