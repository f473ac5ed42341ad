"""Runs, sweeps and evaluations as entries that can stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lenrl.errors import BadInput
from lenrl.measures.format import Figures
from lenrl.report import names
from lenrl.report.entries import Entry, Key, Training, control_of
from lenrl.report.eval_files import read_models


def read(paths: Sequence[Path]) -> list[Entry]:
    """All that the folders hold; a base that several runs share stands once, and the bases first.

    Args:
        paths: folders of runs, of sweeps, or of `lenrl eval --out`, or an `eval.json`.

    Raises:
        BadInput: a path holds nothing that was measured.
    """
    entries = [entry for path in paths for entry in _folder(path)]
    bases: dict[Key, Entry] = {}
    for entry in entries:
        if entry.base:
            bases.setdefault(entry.key, entry)
    return names.named([*bases.values(), *(entry for entry in entries if not entry.base)])


def run_entries(folder: Path, run_dir: Path, name: str) -> list[Entry]:
    """Entries of a run's evaluation: of several models the first one is its base.

    Args:
        folder: with `eval.json`: the run's own, or what `lenrl eval --out` wrote inside of it.

    Raises:
        BadInput: eval.json can't be read.
    """
    models = _models(folder)
    training, first = Training.of(run_dir), models[0].figures["model"]
    several = any(entry.figures["model"] != first for entry in models)
    place = (*run_dir.absolute().parts[:-1], name)
    if several and names.told_apart([models[0].place])[models[0].place] == name:
        place = (*place[:-1], f"{name}, trained")  # a folder may be named like the base
    return [
        replace(entry, base=not entry.control)
        if several and entry.figures["model"] == first
        else replace(entry, name=place[-1], place=names.controlled(place, entry.control), training=training)
        for entry in models
    ]


def _models(folder: Path) -> list[Entry]:
    """The entries of an `eval.json`, each against the first one of its decoding."""
    entries: list[Entry] = []
    first: dict[str, Key] = {}
    for figures in read_models(folder / "eval.json"):
        place = names.controlled(names.place_of(str(figures["model"])), control_of(figures))
        completions = _completions(folder, figures)
        entry = Entry(place[-1], figures, completions, place=place, folder=folder.absolute())
        key = first.setdefault(entry.decoding, entry.key)
        entries.append(replace(entry, against=None if key == entry.key else key))
    return entries


def _folder(path: Path) -> list[Entry]:
    if path.is_file() and path.name == "eval.json":
        path = path.parent
    if not path.is_dir():
        raise BadInput(
            f"{path} is no folder; give a run's folder, a sweep's, or one that lenrl eval --out wrote"
        )
    if (path / "ledger.jsonl").is_file():
        return _sweep(path)
    if not (path / "eval.json").is_file():
        raise BadInput(
            f"{path} has no eval.json: nothing was measured there. Let the run finish with task.test above 0, or "
            f"measure it: lenrl eval {path}/model --out {path}/test, and give that folder"
        )
    for run_dir in (path, path.parent, path.parent.parent):
        if (run_dir / "recipe.yaml").is_file():
            return run_entries(path, run_dir, run_dir.absolute().name)
    return _models(path)


def _sweep(path: Path) -> list[Entry]:
    from lenrl.sweeps import ledger

    entries: list[Entry] = []
    for trial in ledger.read(path).values():
        run = path / trial.run
        if trial.status == ledger.FINISHED and (run / "eval.json").is_file():
            place = names.of_trial(path.absolute(), trial.overrides)
            swept = dict(line.split("=", 1) for line in trial.overrides if "=" in line)
            entries += [
                entry if entry.base else replace(entry, place=place, swept=swept)
                for entry in run_entries(run, run, place[-1] or run.name)
            ]
    if not entries:
        raise BadInput(
            f"{path}: no trial of this sweep is finished and has test problems (task.test above 0)"
        )
    return entries


def _completions(folder: Path, figures: Figures) -> Path | None:
    file = folder / Path(str(figures.get("completions"))).name  # never outside of the folder
    return file if file.is_file() else None
