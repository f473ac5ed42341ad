"""Runs, sweeps and evaluations as entries that can stand side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lenrl.config.yaml_files import read_yaml
from lenrl.errors import BadInput
from lenrl.evaluation.fingerprint import differences
from lenrl.files import read_json_lines
from lenrl.measures import Comparison, compare
from lenrl.measures.format import Figures
from lenrl.report.eval_files import read_columns, read_models

ROWS = ("prompt_id", "prompt", "rendered", "completion", "verdict", "tokens", "truncated", "difficulty")
UNSHOWN = ("name", "output_dir", "launch", "logging", "resume", "resume_with_changes")  # of a recipe
Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Training:
    """Training of a model, as its run's folder tells it."""

    settings: Mapping[str, Any]  # dotted keys of the recipe, without folder, name and launch
    recipe: str  # text of recipe.yaml
    metrics: Sequence[Mapping[str, object]]  # lines of metrics.jsonl
    dev: Sequence[Mapping[str, object]]  # lines of dev.jsonl

    @classmethod
    def of(cls, run_dir: Path) -> Training:
        """Read a run's folder; what is missing or broken is empty."""
        path = run_dir / "recipe.yaml"
        recipe = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        try:
            values = read_yaml(path)
        except BadInput:
            values = None
        shown = {k: v for k, v in values.items() if k not in UNSHOWN} if isinstance(values, dict) else {}
        lines = (read_json_lines(run_dir / name) for name in ("metrics.jsonl", "dev.jsonl"))
        return cls(dict(_dotted(shown)), recipe, *lines)


@dataclass(frozen=True)
class Entry:
    """One model under one decoding."""

    name: str
    figures: Figures  # of `eval.json`
    completions: Path | None
    training: Training | None = None  # None: no run of ours
    base: bool = False  # the model that runs began with

    @property
    def decoding(self) -> str:
        return self.figures["decoding"]

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.training.settings if self.training else {}

    @cached_property
    def columns(self) -> Columns:
        """Completions, without those columns that nobody shows."""
        if self.completions is None:
            return {}
        return read_columns(self.completions, ROWS)


def read(paths: Sequence[Path]) -> list[Entry]:
    """All that the folders hold; a base that several runs share stands once, and first.

    Args:
        paths: folders of runs, of sweeps, or of `lenrl eval --out`, or an `eval.json`.

    Raises:
        BadInput: a path holds nothing that was measured.
    """
    entries = [entry for path in paths for entry in _folder(path)]
    bases: dict[tuple[str, str, str], Entry] = {}
    seen: Counter[tuple[str, str]] = Counter()
    others = []
    for entry in entries:
        if entry.base:
            bases.setdefault(
                (entry.name, entry.decoding, str(entry.figures["fingerprint"].get("hash"))), entry
            )
            continue
        key = (entry.name, entry.decoding)
        seen[key] += 1
        others.append(entry if seen[key] == 1 else replace(entry, name=f"{entry.name} ({seen[key]})"))
    return [*bases.values(), *others]


def paired(base: Entry, entry: Entry) -> Comparison | None:
    """The difference prompt by prompt; None where the two have not answered the same problems."""
    if not base.columns or not entry.columns or base is entry or base.decoding != entry.decoding:
        return None
    left, right = _by_prompt(base.columns), _by_prompt(entry.columns)
    if left.keys() != right.keys() or not left:
        return None
    if any(len({len(rows) for rows in table.values()}) > 1 for table in (left, right)):
        return None
    sides = [np.array([table[name] for name in left], dtype=float) for table in (left, right)]  # (P, S, 2)
    seed = entry.settings.get("seed")
    seed = seed if type(seed) is int and seed >= 0 else 0  # with which eval.json has these intervals
    return compare(sides[0][..., 0], sides[0][..., 1], sides[1][..., 0], sides[1][..., 1], seed)


def otherwise_measured(base: Entry, entry: Entry) -> list[str]:
    """Conditions that move the figures and differ; the model's own tokenizer does not count."""
    return differences(base.figures["fingerprint"], entry.figures["fingerprint"])


def varied(entries: Iterable[Entry]) -> list[str]:
    """Settings that differ between the runs, without what names them."""
    runs = [entry.settings for entry in entries if entry.settings]
    keys = sorted({key for settings in runs for key in settings})
    return [key for key in keys if len({json.dumps(settings.get(key), default=str) for settings in runs}) > 1]


def run_entries(folder: Path, run_dir: Path, name: str) -> list[Entry]:
    """Entries of a run's evaluation: of several models the first one is its base.

    Args:
        folder: with `eval.json`: the run's own, or what `lenrl eval --out` wrote inside of it.
        run_dir: the run's folder.
        name: of the run's model.

    Raises:
        BadInput: eval.json can't be read.
    """
    models = read_models(folder / "eval.json")
    training, first = Training.of(run_dir), models[0]["model"]
    several = any(figures["model"] != first for figures in models)
    if several and name == first:  # a folder may be named like the base
        name = f"{name}, trained"
    return [
        Entry(str(first), figures, _completions(folder, figures), base=True)
        if several and figures["model"] == first
        else Entry(name, figures, _completions(folder, figures), training)
        for figures in models
    ]


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
            return run_entries(path, run_dir, run_dir.name)
    return [Entry(str(f["model"]), f, _completions(path, f)) for f in read_models(path / "eval.json")]


def _sweep(path: Path) -> list[Entry]:
    from lenrl.sweeps import ledger

    entries: list[Entry] = []
    for trial in ledger.read(path).values():
        run = path / trial.run
        if trial.status == ledger.FINISHED and (run / "eval.json").is_file():
            entries += run_entries(run, run, " ".join(trial.overrides) or run.name)
    if not entries:
        raise BadInput(
            f"{path}: no trial of this sweep is finished and has test problems (task.test above 0)"
        )
    return entries


def _completions(folder: Path, figures: Figures) -> Path | None:
    file = folder / Path(str(figures.get("completions"))).name  # never outside of the folder
    return file if file.is_file() else None


def _by_prompt(columns: Columns) -> dict[str, list[tuple[float, float]]]:
    table: dict[str, list[tuple[float, float]]] = {}
    for name, verdict, tokens in zip(
        columns["prompt_id"], columns["verdict"], columns["tokens"], strict=True
    ):
        table.setdefault(name, []).append((np.nan if verdict is None else float(verdict), float(tokens)))
    return table


def _dotted(values: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
