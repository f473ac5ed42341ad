"""What folders hold: runs, sweeps and evaluations as entries that can stand side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from lenrl.errors import BadInput
from lenrl.evaluation.fingerprint import differences
from lenrl.measures import Comparison, compare
from lenrl.report.run_page import json_lines

ROWS = ("prompt_id", "prompt", "completion", "verdict", "tokens", "truncated", "difficulty")
Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Entry:
    """One model under one decoding."""

    name: str
    figures: Mapping[str, Any]  # of `eval.json`
    completions: Path | None
    settings: Mapping[str, Any] = field(
        default_factory=dict
    )  # dotted keys of the recipe; empty: no run of ours
    metrics: Sequence[Mapping[str, Any]] = ()  # lines of metrics.jsonl
    base: bool = False  # the model that runs began with

    @property
    def decoding(self) -> str:
        return self.figures["decoding"]

    @cached_property
    def columns(self) -> Columns:
        """Completions, without those columns that nobody shows."""
        if self.completions is None:
            return {}
        there = set(pq.read_schema(self.completions).names)
        return pq.read_table(self.completions, columns=[name for name in ROWS if name in there]).to_pydict()


def read(paths: Sequence[Path]) -> list[Entry]:
    """All that the folders hold; a base that several runs share stands once, and first.

    Args:
        paths: folders of runs, of sweeps, or of `lenrl eval --out`, or an `eval.json`.

    Raises:
        BadInput: a path holds nothing that was measured.
    """
    found = [entry for path in paths for entry in _folder(path)]
    bases: dict[tuple[str, str, str], Entry] = {}
    for entry in found:
        if entry.base:
            bases.setdefault((entry.name, entry.decoding, entry.figures["fingerprint"]["hash"]), entry)
    return [*bases.values(), *_named_apart([entry for entry in found if not entry.base])]


def paired(base: Entry, entry: Entry) -> Comparison | None:
    """The difference prompt by prompt; None where the two have not answered the same problems."""
    one, other = base.columns, entry.columns
    if not one or not other or base is entry or base.decoding != entry.decoding:
        return None
    left, right = _by_prompt(one), _by_prompt(other)
    if left.keys() != right.keys() or not left:
        return None
    if len({len(rows) for rows in left.values()}) > 1 or len({len(rows) for rows in right.values()}) > 1:
        return None
    sides = [np.array([table[name] for name in left], dtype=float) for table in (left, right)]  # (P, S, 2)
    return compare(sides[0][..., 0], sides[0][..., 1], sides[1][..., 0], sides[1][..., 1])


def otherwise_measured(base: Entry, entry: Entry) -> list[str]:
    """What moves the figures and differs between the two evaluations; the model's own tokenizer does not count."""
    return differences(base.figures["fingerprint"], entry.figures["fingerprint"])


def varied(entries: Iterable[Entry]) -> list[str]:
    """Settings that differ between the runs, without what names them."""
    runs = [entry.settings for entry in entries if entry.settings]
    keys = sorted({key for settings in runs for key in settings})
    return [key for key in keys if len({json.dumps(settings.get(key)) for settings in runs}) > 1]


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
    return _run(path, path.name) if (path / "recipe.yaml").is_file() else _evaluation(path)


def _sweep(path: Path) -> list[Entry]:
    from lenrl.sweep import ledger

    found: list[Entry] = []
    for trial in ledger.read(path).values():
        run = path / trial.run
        if trial.status == ledger.FINISHED and (run / "eval.json").is_file():
            found += _run(run, " ".join(trial.overrides) or run.name)
    if not found:
        raise BadInput(
            f"{path}: no trial of this sweep is finished and has test problems (task.test above 0)"
        )
    return found


def _run(path: Path, name: str) -> list[Entry]:
    settings = _flat(yaml.safe_load((path / "recipe.yaml").read_text()) or {})
    result = _evaluated(path)
    models = list(dict.fromkeys(figures["model"] for figures in result))
    found = []
    for figures in result:
        base = len(models) > 1 and figures["model"] == models[0]
        entry = Entry(
            str(figures["model"]) if base else name, figures, _completions(path, figures), base=base
        )
        found.append(
            entry if base else replace(entry, settings=settings, metrics=json_lines(path / "metrics.jsonl"))
        )
    return found


def _evaluation(path: Path) -> list[Entry]:
    """Of a model from elsewhere, or of a run's: then what the run's folder says of it belongs to it."""
    run = next((p for p in (path.parent, path.parent.parent) if (p / "recipe.yaml").is_file()), None)
    found = []
    for figures in _evaluated(path):
        entry = Entry(str(figures["model"]), figures, _completions(path, figures))
        if run is not None:
            settings = _flat(yaml.safe_load((run / "recipe.yaml").read_text()) or {})
            entry = replace(
                entry, name=run.name, settings=settings, metrics=json_lines(run / "metrics.jsonl")
            )
        found.append(entry)
    return found


def _evaluated(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads((path / "eval.json").read_text())["models"]
    except (ValueError, KeyError, TypeError) as fault:
        raise BadInput(f"{path / 'eval.json'} can't be read: {fault}") from None
    if not found:
        raise BadInput(f"{path / 'eval.json'} has no models")
    return found


def _completions(path: Path, figures: Mapping[str, Any]) -> Path | None:
    file = path / Path(str(figures.get("completions"))).name  # never outside of the folder
    return file if file.is_file() else None


def _named_apart(entries: Sequence[Entry]) -> list[Entry]:
    seen: dict[tuple[str, str], int] = {}
    found = []
    for entry in entries:
        key = (entry.name, entry.decoding)
        seen[key] = seen.get(key, 0) + 1
        found.append(entry if seen[key] == 1 else replace(entry, name=f"{entry.name} ({seen[key]})"))
    return found


def _by_prompt(columns: Columns) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for name, verdict, tokens in zip(
        columns["prompt_id"], columns["verdict"], columns["tokens"], strict=True
    ):
        found.setdefault(name, []).append((np.nan if verdict is None else float(verdict), float(tokens)))
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of what shapes a run's result, without the folder, the name and the launch."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if not prefix and key in ("name", "output_dir", "launch", "logging", "resume", "resume_with_changes"):
            continue
        found |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {prefix + key: value}
        )
    return found
