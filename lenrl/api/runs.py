"""Runs and sweeps, launched from Python as the command line launches them: training runs in processes of its own."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from lenrl.errors import BadInput, RunFailed
from lenrl.files import read_json

if TYPE_CHECKING:
    from lenrl.config import Recipe
    from lenrl.launch.run_folder import RunFolder
    from lenrl.training.prepare import CheckedRun

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # exit codes


@dataclass(frozen=True)
class Run:
    """A finished run's folder, or a sweep's."""

    path: Path
    file: str = "summary.json"

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Figures before and after training (`summary.json`); of a sweep its trials, front and picks (`sweep.json`)."""
        return read_json(self.path / self.file, {})


@dataclass(frozen=True)
class Ended:
    """The end of a launch: the folder, the command line's exit code, and what it says where that is not 0."""

    path: Path
    code: int = 0
    said: str = ""


def train(
    recipe: str | Path | Recipe, overrides: Sequence[str] = (), plugins: Sequence[Path | str] = ()
) -> Run:
    """Train as `lenrl train` does, to the end, and measure before against after; called again it continues.

    Args:
        recipe: a recipe's name, a file, a run's folder, or what `lenrl.compose` gave.
        overrides: settings, `"advantage.lam=0.2"`.
        plugins: files of the caller's own.

    Returns:
        The run's folder, with its summary.

    Raises:
        BadInput: the recipe, the data or the folder is refused.
        RunFailed: training failed; its message stands on standard error, checkpoints are intact.
        KeyboardInterrupt, SystemExit: stopped by SIGINT, SIGTERM, which the run has obeyed by a checkpoint.
    """
    from lenrl.config import Recipe, compose

    if isinstance(recipe, Recipe) and (overrides or plugins):
        raise BadInput("overrides and plugins go to lenrl.compose, where the recipe is composed")
    if not isinstance(recipe, Recipe):
        recipe = compose(str(recipe), overrides, [Path(plugin) for plugin in plugins])
    _require_main_thread("train")
    ended = launch(recipe)
    if ended.code:
        _raise(ended)
    return Run(ended.path)


def sweep(
    recipe: str | Path,
    overrides: Sequence[str],
    *,
    trials: int | None = None,
    jobs: int = 1,
    on_error: Literal["continue", "stop", "retry"] = "continue",
    stop_hopeless: bool = False,
    plugins: Sequence[Path | str] = (),
) -> Run:
    """Train a recipe with several settings as `lenrl sweep` does; called again it continues.

    Args:
        recipe: a recipe's name or file.
        overrides: settings in Hydra's grid grammar, `"reward.alpha=0.1,0.2"`.
        trials: so many are searched with Optuna; None: the grid.
        jobs: trials side by side.
        on_error: after a crash: continue with the others, stop them all, or retry the trial once.
        stop_hopeless: end a trial that is dominated, or has lost half of its first accuracy.
        plugins: files of the caller's own.

    Returns:
        The sweep's folder, with its trials.

    Raises:
        BadInput: the sweep or a trial's recipe is refused.
        RunFailed: a trial is not done: crashed, or never begun; what the others gave stands in the folder.
        KeyboardInterrupt, SystemExit: stopped by SIGINT, SIGTERM; the trials have saved.
    """
    from lenrl.sweeps.plan import Plan
    from lenrl.sweeps.scheduler import ON_ERROR, Sweep

    for name, value in (("trials", trials), ("jobs", jobs)):
        if value is not None and (type(value) is not int or value < 1):
            raise BadInput(f"{name}={value!r}: needs a whole number of at least 1")
    if on_error not in ON_ERROR:
        raise BadInput(f"on_error={on_error!r}: must be one of {', '.join(ON_ERROR)}")
    _require_main_thread("sweep")
    plan = Plan.read(str(recipe), list(overrides), [Path(plugin) for plugin in plugins], trials)
    code = Sweep(plan, jobs=jobs, on_error=on_error, stop_early=stop_hopeless).run()
    swept = Run(Path(plan.folder), "sweep.json")
    if code:
        states = [f"trial {t['trial']}: {t['status']}" for t in swept.summary.get("trials", ())]
        _raise(Ended(swept.path, code, f"the sweep in {swept.path} is not done: {', '.join(states)}"))
    return swept


def launch(recipe: Recipe) -> Ended:
    """Check a recipe, launch it, and measure what it trained; what a launched process refuses it has printed.

    Raises:
        BadInput: refused before any process has started.
    """
    from lenrl.launch.command import check
    from lenrl.launch.run_folder import RunFolder
    from lenrl.launch.worker import REFUSED

    check(recipe.launch)

    from lenrl.training.audited_data import read_data

    checked_run = _checked(recipe)
    recipe = checked_run.recipe
    folder = RunFolder(recipe)
    with folder.locked() as lock:
        folder.admit()
        if folder.trained() and folder.machine_rank == 0 and not recipe.resume_with_changes:
            from lenrl.training import data_identity

            data_identity.refuse_other(folder.path, checked_run)
        if folder.finished():
            page = " See its report.html." if (folder.path / "report.html").is_file() else ""
            _say(f"{folder.path} holds this run, finished; no step taken.{page}")
            return _pushed(folder, recipe)
        if not folder.trained():
            try:
                read_data(checked_run)
            except BadInput:
                folder.withdraw()
                raise
            _say(f"lenrl: {recipe.recipe} in {folder.path}")
            folder.prepare()
            code = _supervised(folder, recipe, lock)
            if code == REFUSED:  # a rank has printed why
                folder.withdraw()
                return Ended(folder.path, code)
            if code:
                folder.note_end(code)
                return Ended(folder.path, code, _ending(code, folder))
        if folder.machine_rank == 0:
            from lenrl.report import summary

            try:
                summary.finish(folder.path, recipe)
            except OSError as fault:
                raise RunFailed(
                    f"{folder.path} is trained, but its summary could not be written: {fault.strerror or fault}. Make "
                    f"room or repair {fault.filename or folder.path}; the same command goes on with the evaluation."
                ) from None
            return _pushed(folder, recipe)
    return Ended(folder.path)


def _supervised(folder: RunFolder, recipe: Recipe, lock: int) -> int:
    """The exit code of a run's processes, which see the GPUs of its launch."""
    from lenrl.launch.command import command, started, trusting
    from lenrl.launch.supervise import supervise

    line = [*command(folder.path, (), folder.local_processes, folder.files), *trusting(recipe)]
    line, env = started(line, recipe.launch)
    return supervise(
        line,
        folder.local_processes,
        hold=[lock],
        env=env,
        log=folder.log,
        first_rank=folder.first_rank,
    )


def _checked(recipe: Recipe) -> CheckedRun:
    """The recipe's run, if it can start here; settings that were chosen for its model are said.

    Raises:
        BadInput: it can't.
    """
    from lenrl.dryrun.refusals import refusals
    from lenrl.training.prepare import prepare

    checked_run = prepare(recipe)
    if faults := refusals(checked_run):
        raise BadInput("\n".join(faults))
    plain = checked_run.recipe.resolved()
    for key, reason in checked_run.reasons.items():
        section, name = key.split(".")
        _say(f"lenrl: {key}={plain[section][name]}: {reason}")
    if recipe.hub.push:
        from lenrl.report import hub

        hub.check(checked_run.recipe)
    return checked_run


def _pushed(folder: RunFolder, recipe: Recipe) -> Ended:
    """To the hub, where the recipe says so; `hub.check` has refused a push without a repo."""
    repo = recipe.hub.repo
    if not recipe.hub.push or repo is None or folder.machine_rank != 0:
        return Ended(folder.path)
    from lenrl.report import hub

    where = hub.push(folder.path, repo, private=recipe.hub.private)
    if where is None:
        return Ended(folder.path, 1)
    _say(f"pushed: {where}")
    return Ended(folder.path)


def _ending(code: int, folder: RunFolder) -> str:
    saved = sorted(folder.path.glob("checkpoint-*"), key=lambda p: p.stat().st_mtime)
    last = f"The last checkpoint is {saved[-1].name}. " if saved else "There is no checkpoint yet. "
    again = "The same command continues." if saved else "The same command begins anew."
    if code in (INTERRUPTED, TERMINATED):
        return f"lenrl: stopped by a signal. {last}{again}"
    return f"lenrl: the run failed (exit code {code}); its message is above. {last}"


def _raise(ended: Ended) -> NoReturn:
    """Outcome of an exit code in Python; a signal is not for an `except RunFailed` to swallow."""
    said = ended.said.removeprefix("lenrl: ") or f"{ended.path}: the message on standard error says why"
    if ended.code == INTERRUPTED:
        raise KeyboardInterrupt(said)
    if ended.code == TERMINATED:
        raise SystemExit(ended.code)
    raise (BadInput if ended.code == BadInput.exit_code else RunFailed)(said)


def _require_main_thread(verb: str) -> None:
    if threading.current_thread() is not threading.main_thread():
        raise BadInput(
            f"lenrl.{verb} passes signals on to its processes, which only the main thread can: call it there"
        )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
