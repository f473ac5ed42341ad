"""Report and completions of a finished run, for its trackers; their faults cost the run nothing."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas
import pyarrow.parquet as pq

from lenrl.monitors.trackers import run_id, trackio_name
from lenrl.redact import printable

if TYPE_CHECKING:
    from lenrl.config import Recipe

log = logging.getLogger("lenrl")

TABLE_ROWS = 200
TABLE_COLUMNS = ["step", "prompt", "completion", "verdict", "tokens", "reward", "advantage"]
TEXT = 2000  # characters of a cell
FILES = ("report.html", "recipe.yaml", "eval.json", "summary.json")
PATIENCE_S = 60.0  # for one tracker


def hand_over(run_dir: Path, recipe: Recipe) -> None:
    """Give completions, report, recipe and figures to the run's trackers, as table and artifact if they can."""
    files = [run_dir / name for name in FILES if (run_dir / name).is_file()]
    for tracker in recipe.logging.report_to:
        if (give := GIVING.get(tracker)) is not None:
            _bounded(tracker, give, run_dir, recipe, files)


def table(run_dir: Path) -> pandas.DataFrame:
    """Completions of the first and the last logged rollout, at most TABLE_ROWS; empty if none were logged."""
    files = sorted((run_dir / "completions").glob("*.parquet"))
    ends = [pq.read_table(path, columns=TABLE_COLUMNS) for path in dict.fromkeys([*files[:1], *files[-1:]])]
    rows = pandas.concat(
        [part.slice(0, TABLE_ROWS // 2).to_pandas() for part in ends] or [pandas.DataFrame()]
    )
    for name in ("prompt", "completion"):
        if name in rows:
            rows[name] = rows[name].str.slice(0, TEXT)
    return rows


def _bounded(tracker: str, give: Callable[..., None], *arguments: object) -> None:
    """Call `give` in a thread of its own, and not for long: a tracker may wait for a network for ever."""
    faults: list[BaseException] = []

    def work() -> None:
        try:
            give(*arguments)
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
        message = printable(f"{type(fault).__name__}: {fault}", 300)
        log.warning("%s did not take the report (%s); it is in the run's folder", tracker, message)


def _filled(artifact: Any, files: list[Path]) -> Any:
    for path in files:
        artifact.add_file(str(path))
    return artifact


def _wandb(run_dir: Path, recipe: Recipe, files: list[Path]) -> None:
    import wandb

    project = os.environ.get("WANDB_PROJECT") or recipe.logging.project
    identity = run_id(run_dir, "wandb", os.environ.get("WANDB_RUN_ID"))
    with wandb.init(project=project, id=identity, resume="allow") as run:
        run.log_artifact(_filled(wandb.Artifact(f"report-{identity}", type="report"), files))
        if len(rows := table(run_dir)):
            run.log({"completions": wandb.Table(dataframe=rows)})


def _trackio(run_dir: Path, recipe: Recipe, files: list[Path]) -> None:
    import trackio

    identity = run_id(run_dir, "trackio")
    name = trackio_name(f"{recipe.recipe}/{run_dir.name}", run_dir)
    trackio.init(project=recipe.logging.project, name=name, resume="allow")
    try:
        trackio.log_artifact(_filled(trackio.Artifact(f"report-{identity}", type="report"), files))
        if len(rows := table(run_dir)):
            trackio.log({"completions": trackio.Table(dataframe=rows)})
    finally:
        trackio.finish()


def _tensorboard(run_dir: Path, recipe: Recipe, files: list[Path]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run_dir / "tensorboard")) as writer:
        for path in files:
            text = str(path) if path.suffix == ".html" else path.read_text()  # it shows no pages
            writer.add_text(path.name, f"```\n{text}\n```")
        for number, row in enumerate(table(run_dir).to_dict("records")):
            writer.add_text("completions", f"    {row}", number)


GIVING = {"wandb": _wandb, "trackio": _trackio, "tensorboard": _tensorboard}
