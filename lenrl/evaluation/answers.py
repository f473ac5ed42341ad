"""Measures of answers that stand in a file: excess length, asked-for length, preferences of a judge.

A row is an answer: `answer` (text) and, if it is to be told apart, `model`. What else it has says what is
measured: `baseline` (the shortest answer that is enough) and `category`: YapIndex; `target` (words asked for,
one of the Ruler's): Ruler; `preference` (0 to 1: the judge prefers this answer) and `other` (the other's
answer): win rates. Sources: `lenrl.measures`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lenrl import measures
from lenrl.errors import BadInput, did_you_mean, shown
from lenrl.measures.format import share, with_interval
from lenrl.tasks.rows import Row, read_rows

TEXTS = ("answer", "baseline", "other", "category", "model")
NEEDS = {"yap": "baseline", "ruler": "target", "wins": "preference"}
ALL = "all"  # where rows name no category


def measure(path: Path, out_dir: Path | None = None) -> dict[str, Any]:
    """The figures of each model in the file, by its name; also in `out_dir/answers.json`.

    Raises:
        BadInput: the file can't be read, a row has no answer or a value of the wrong kind, no measure has
            its columns, or the folder can't be written.
    """
    rows = read_rows(path)
    for row in rows:
        _check(row)
    models: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        models[row.values.get("model") or path.stem].append(row)
    found = {name: _figures(given) for name, given in models.items()}
    if not any(figures.keys() & NEEDS.keys() for figures in found.values()):
        raise BadInput(
            f"{path}: no row has {', '.join(NEEDS.values())}; add baseline for the YapIndex, target for the "
            "Ruler, preference and other for win rates"
        )
    if out_dir is not None:
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            (out_dir / "answers.json").write_text(json.dumps(found, indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise BadInput(f"--out {out_dir} can't be written ({error}); give another folder") from error
    return found


def show(found: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print a line each model."""
    table = Table(box=box.SIMPLE_HEAD, title="95 % intervals over prompts", title_justify="left")
    columns = (
        "model",
        "answers",
        "YapIndex, characters",
        "Ruler, precise",
        "flexible",
        "wins",
        "at equal length",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, figures in found.items():
        yap, ruler, wins = (figures.get(key, {}) for key in NEEDS)
        index = yap.get("index")
        table.add_row(
            Text(name),
            str(figures["answers"]),
            "-" if index is None else f"{index:.1f}",
            *(with_interval(ruler.get(k), ruler.get(f"{k}_ci95"), share) for k in ("precise", "flexible")),
            *(
                with_interval(wins.get(k), wins.get(f"{k}_ci95"), share)
                for k in ("rate", "length_controlled")
            ),
        )
    console.print(table)


def _check(row: Row) -> None:
    values = row.values
    if "answer" not in values:
        raise BadInput(
            f"{row.where}: has no answer, only {', '.join(values) or 'nothing'}; add the column `answer`"
        )
    for name in TEXTS:
        if not isinstance(values.get(name, ""), str):
            raise BadInput(f"{row.where}: {name}={shown(values[name], 60)} is not text")
    target = values.get("target")
    if target is not None and str(target) not in measures.RULER_RANGES:
        raise BadInput(
            f"{row.where}: target={shown(target, 60)} is none of the Ruler's {', '.join(measures.RULER_RANGES)}."
            f"{did_you_mean(str(target), measures.RULER_RANGES)}"
        )
    preference = values.get("preference")
    if preference is None:
        return
    if isinstance(preference, bool) or not isinstance(preference, int | float) or not 0 <= preference <= 1:
        raise BadInput(
            f"{row.where}: preference={shown(preference, 60)} is outside 0 to 1, 1: the judge prefers this answer. "
            "AlpacaEval writes 1 to 2: subtract 1"
        )
    if values.get("other") is None:
        raise BadInput(
            f"{row.where}: has a preference, but no `other`: add the other's answer, for its length"
        )


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    given = {
        name: [row.values for row in rows if row.values.get(need) is not None] for name, need in NEEDS.items()
    }
    found: dict[str, Any] = {"answers": len(rows)}
    if given["yap"]:
        found["yap"] = _yap(given["yap"])
    if given["ruler"]:
        found["ruler"] = _ruler(given["ruler"])
    if given["wins"]:
        found["wins"] = _wins(given["wins"])
    return found


def _yap(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scores: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        scores[row.get("category") or ALL].append(measures.yap_score(row["answer"], row["baseline"]))
    medians = {name: measures.yap_index({name: values}) for name, values in scores.items()}
    return {"index": measures.yap_index(scores), "medians": medians, "answers": len(rows)}


def _ruler(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"answers": len(rows)}
    for place, name in enumerate(("precise", "flexible")):
        hits = [
            measures.in_range(measures.words(row["answer"]), measures.RULER_RANGES[str(row["target"])][place])
            for row in rows
        ]
        estimate = measures.accuracy([[hit] for hit in hits])
        assert estimate is not None
        found |= {name: estimate.value, f"{name}_ci95": estimate.ci95}
    return found


def _wins(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Lengths are characters, as in AlpacaEval."""
    rates = measures.win_rate(
        [row["preference"] for row in rows],
        [len(row["answer"]) for row in rows],
        [len(row["other"]) for row in rows],
    )
    controlled = rates.length_controlled
    return {
        "answers": len(rows),
        "rate": rates.raw.value,
        "rate_ci95": rates.raw.ci95,
        "length_controlled": controlled.value if controlled else None,
        "length_controlled_ci95": controlled.ci95 if controlled else None,
    }
