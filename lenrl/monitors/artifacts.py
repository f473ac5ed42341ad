"""Report and completions of a finished run, for its trackers; their faults cost the run nothing."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from lenrl.monitors.trackers import known_id, run_id, silent, trackio_name, wandb_folder
from lenrl.redact import printable

if TYPE_CHECKING:
    import pandas

    from lenrl.config import Recipe

log = logging.getLogger("lenrl")

TABLE_ROWS = 200
TABLE_COLUMNS = ["step", "prompt", "completion", "verdict", "tokens", "reward", "advantage"]
TEXT = 2000  # characters of a cell
FILES = ("report.html", "recipe.yaml", "eval.json", "summary.json")
PATIENCE_S = 30.0  # for all of them together


def hand_over(run_dir: Path, recipe: Recipe) -> None:
    """Give completions, report, recipe and figures to the run's trackers, as table and artifact if they can.

    Each in a process of its own, which is killed when it takes too long: their libraries wait for a server for ever,
    some at the very end of their process. One that did not answer in training is left out.
    """
    unanswering = silent(run_dir)
    asked = [name for name in recipe.logging.report_to if name in GIVING and name not in unanswering]
    wanted = {
        "project": recipe.logging.project,
        "entity": recipe.logging.entity,
        "name": f"{recipe.recipe}/{run_dir.name}",
    }
    line = [sys.executable, "-P", "-m", __spec__.name, str(run_dir), json.dumps(wanted)]
    givers = {
        name: subprocess.Popen([*line, name], stdout=subprocess.PIPE, text=True, start_new_session=True)
        for name in asked
    }
    until = time.monotonic() + PATIENCE_S
    for name, giver in givers.items():
        try:
            said, _ = giver.communicate(timeout=max(0.0, until - time.monotonic()))
            why = (said or f"it ended with {giver.returncode}") if giver.returncode else ""
        except subprocess.TimeoutExpired:
            os.killpg(giver.pid, signal.SIGKILL)
            giver.communicate()
            why = f"no answer within {PATIENCE_S:.0f} s"
        if why:
            log.warning(
                "%s did not take the report (%s); it is in the run's folder", name, printable(why, 300)
            )


def main(run_dir: str, wanted: str, tracker: str) -> int:
    """Give to one tracker; a fault is printed for the process that waits."""
    folder = Path(run_dir)
    files = [folder / name for name in FILES if (folder / name).is_file()]
    try:
        GIVING[tracker](folder, json.loads(wanted), files)
    except Exception as fault:
        sys.stdout.write(printable(f"{type(fault).__name__}: {fault}", 300))
        return 1
    return 0


def table(run_dir: Path) -> pandas.DataFrame:
    """Completions of the first and the last logged rollout, at most TABLE_ROWS; empty if none were logged."""
    import pandas  # it loads for half a second, and most runs have no tracker

    files = sorted((run_dir / "completions").glob("*.parquet"))
    ends = [pq.read_table(path, columns=TABLE_COLUMNS) for path in dict.fromkeys([*files[:1], *files[-1:]])]
    rows = pandas.concat(
        [part.slice(0, TABLE_ROWS // 2).to_pandas() for part in ends] or [pandas.DataFrame()]
    )
    for name in ("prompt", "completion"):
        if name in rows:
            rows[name] = rows[name].str.slice(0, TEXT)
    return rows


def _filled(artifact: Any, files: list[Path]) -> Any:
    for path in files:
        artifact.add_file(str(path))
    return artifact


def _wandb(run_dir: Path, wanted: Mapping[str, Any], files: list[Path]) -> None:
    import wandb

    project = os.environ.get("WANDB_PROJECT") or wanted["project"]
    identity = run_id(run_dir, "wandb", os.environ.get("WANDB_RUN_ID"))
    place = {"entity": wanted["entity"], "dir": wandb_folder(run_dir)}
    with wandb.init(project=project, id=identity, resume="allow", **place) as run:
        run.log_artifact(_filled(wandb.Artifact(f"report-{identity}", type="report"), files))
        if len(rows := table(run_dir)):
            run.log({"completions": wandb.Table(dataframe=rows)})


def _trackio(run_dir: Path, wanted: Mapping[str, Any], files: list[Path]) -> None:
    import trackio

    identity = run_id(run_dir, "trackio")
    name = trackio_name(wanted["name"], run_dir)
    trackio.init(project=wanted["project"], name=name, resume="allow")
    try:
        trackio.log_artifact(_filled(trackio.Artifact(f"report-{identity}", type="report"), files))
        if len(rows := table(run_dir)):
            trackio.log({"completions": trackio.Table(dataframe=rows)})
    finally:
        trackio.finish()


def _tensorboard(run_dir: Path, wanted: Mapping[str, Any], files: list[Path]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run_dir / "tensorboard")) as writer:
        for path in files:
            text = str(path) if path.suffix == ".html" else path.read_text()  # it shows no pages
            writer.add_text(path.name, f"```\n{text}\n```")
        for number, row in enumerate(table(run_dir).to_dict("records")):
            writer.add_text("completions", f"    {row}", number)


def _mlflow(run_dir: Path, wanted: Mapping[str, Any], files: list[Path]) -> None:
    import mlflow  # pyright: ignore[reportMissingImports] - an extra

    with mlflow.start_run(run_id=os.environ.get("MLFLOW_RUN_ID") or known_id(run_dir, "mlflow")):
        for path in files:
            mlflow.log_artifact(str(path))
        if len(rows := table(run_dir)):
            mlflow.log_table(rows, "completions.json")


GIVING = {"wandb": _wandb, "trackio": _trackio, "tensorboard": _tensorboard, "mlflow": _mlflow}

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
