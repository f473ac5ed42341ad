"""Accuracy and tokens of a trial, from the files of its run. Only the standard library: trial processes read them."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lenrl.files import read_json, read_json_lines


class Point(NamedTuple):
    """One evaluation on the development problems."""

    step: int
    accuracy: float
    tokens: float


def curve(run: Path) -> list[Point]:
    """The run's evaluations on the development problems (`dev.jsonl`) that know an accuracy."""
    return [
        Point(line["step"], line["eval_accuracy"], line["eval_tokens"])
        for line in read_json_lines(run / "dev.jsonl")
        if line.get("eval_accuracy") is not None and line.get("eval_tokens") is not None
    ]


def figures(run: Path) -> dict[str, Any]:
    """`accuracy`, `tokens`, and which problems they are of (`measured_on`).

    Settings are chosen on development problems, so that the test problems stay unseen: the last development
    evaluation counts, if the final model had one, or the run is not over. Else it is the test problems' turn.
    """
    points, steps = curve(run), read_json(run / "training.json", {}).get("steps")
    if points and steps in (None, points[-1].step):
        return {"accuracy": points[-1].accuracy, "tokens": points[-1].tokens, "measured_on": "dev"}
    after = read_json(run / "summary.json", {}).get("after") or {}
    if after.get("tokens") is not None:
        return {"accuracy": after.get("accuracy"), "tokens": after["tokens"], "measured_on": "test"}
    return {"accuracy": None, "tokens": None, "measured_on": None}


def last_step(run: Path) -> dict[str, Any]:
    """The newest line of `metrics.jsonl`; empty where there is none yet."""
    try:
        with open(run / "metrics.jsonl", "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16_384))
            tail = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    for line in reversed(tail):
        with suppress(ValueError, RecursionError):
            values = json.loads(line)
            if isinstance(values, dict):
                return values
    return {}
