"""One model under one decoding, and what its run's folder tells of its training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lenrl.config.yaml_files import read_yaml
from lenrl.errors import BadInput
from lenrl.evaluation.cache import LOGPS
from lenrl.evaluation.results import NONE
from lenrl.files import read_json_lines
from lenrl.measures import Answers, Comparison, compare
from lenrl.measures.format import Figures
from lenrl.report.eval_files import read_columns
from lenrl.verify.math import normalize

ROWS = (
    "prompt_id", "base", "prompt", "rendered", "completion", "answer", "verdict", "tokens", "truncated", "difficulty",
    *LOGPS,
)  # fmt: skip
UNSHOWN = ("name", "output_dir", "launch", "logging", "resume", "resume_with_changes")  # of a recipe
Columns = Mapping[str, Sequence[Any]]
Key = tuple[str, str, str]


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
    place: tuple[str, ...] = ()  # parts of the path that the name is the end of
    folder: Path | None = None  # of its eval.json
    against: Key | None = None  # key of the model it was measured beside, under the same decoding
    # Settings of a sweep's trial, as they were written
    swept: Mapping[str, str] = field(default_factory=dict)

    @property
    def decoding(self) -> str:
        return self.figures["decoding"]

    @property
    def control(self) -> str | None:
        """The control at decoding; None: there is none."""
        return control_of(self.figures)

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.training.settings if self.training else {}

    @property
    def key(self) -> Key:
        """The model, its decoding, and how it was measured."""
        return str(self.figures["model"]), self.decoding, str(self.figures["fingerprint"].get("hash"))

    @cached_property
    def columns(self) -> Columns:
        """Completions, without those columns that nobody shows."""
        if self.completions is None:
            return {}
        return read_columns(self.completions, ROWS)

    @cached_property
    def answers(self) -> Answers | None:
        """Verdicts, tokens and answers by prompt; None: there are no completions, or not as many of each prompt."""
        columns = self.columns
        if not columns:
            return None
        given = columns["prompt_id"], columns["verdict"], columns["tokens"], columns.get("truncated")
        bases = columns.get("base")  # files of older versions have none
        if not columns.keys() >= set(LOGPS):
            return Answers.of_rows(*given, bases=bases)
        answers = columns.get("answer") or [None] * len(columns["tokens"])
        spelled = [None if answer is None else normalize.key(answer) for answer in answers]
        summaries = list(zip(*(columns[name] for name in LOGPS), strict=True))
        return Answers.of_rows(*given, summaries, spelled, bases)


def control_of(figures: Figures) -> str | None:
    """The control at decoding of a model's figures; None: there is none, as in files of older versions."""
    control = figures.get("control", NONE)
    return None if control == NONE else str(control)


def paired(base: Entry, entry: Entry) -> Comparison | None:
    """The difference prompt by prompt; None where the two have not answered the same problems."""
    if base is entry or base.decoding != entry.decoding or not base.answers or not entry.answers:
        return None
    same = entry.answers.in_order_of(base.answers)
    if same is None:
        return None
    left, right = base.answers.by_base, same.by_base
    seed = entry.settings.get("seed")
    seed = seed if type(seed) is int and seed >= 0 else 0  # with which eval.json has these intervals
    return compare(left.correct_PS, left.tokens_PS, right.correct_PS, right.tokens_PS, seed)


def varied(entries: Iterable[Entry]) -> list[str]:
    """Settings that differ between the runs, without what names them; those that were swept stand first."""
    runs = [entry for entry in entries if entry.settings]
    keys = sorted({key for entry in runs for key in entry.settings})
    found = [
        key for key in keys if len({json.dumps(entry.settings.get(key), default=str) for entry in runs}) > 1
    ]
    swept = {key for entry in runs for key in entry.swept}
    return sorted(found, key=lambda key: (key not in swept, key == "seed"))


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
