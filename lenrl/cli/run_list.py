"""Runs below a folder: recipe, state, step, last figures, age. Read from small files; no model library is imported."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput
from lenrl.files import read_json
from lenrl.redact import visible
from lenrl.sweeps.measured import last_step

MOST_RUNS = 10_000
MOST_DEPTH = 6  # folders below the given one
MOST_BYTES = 100_000  # of a recipe
SIGNALS = (130, 143)  # exit codes of a run that a signal ended
RUNNING, FINISHED, TRAINED, INTERRUPTED, FAILED = "running", "finished", "trained", "interrupted", "failed"
COLUMNS = ("recipe", "state", "step", "reward", "tokens", "age", "folder")


def runs(folder: Path) -> list[dict[str, Any]]:
    """The runs below a folder, the newest first; what a folder does not tell is None.

    Returns:
        Of each `folder` (from the given one), `recipe`, `state` (running, finished, trained: not evaluated,
        interrupted, failed), `step`, `steps`, `reward` and `tokens` of the last step, `seconds` since the last
        change.

    Raises:
        BadInput: there is no such folder.
    """
    if not folder.is_dir():
        raise BadInput(
            f"{folder} is no folder; `lenrl ls runs` looks into outputs/, `lenrl ls runs DIR` elsewhere."
        )
    held, found = _locked_files(), []
    for path in _run_folders(folder):
        found.append(_run(path, held) | {"folder": str(path.relative_to(folder))})
        if len(found) == MOST_RUNS:
            break
    return sorted(found, key=lambda run: run["seconds"])


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """A line a run, in 80 columns where the folders' names allow it."""
    if not found:
        return "no runs\n"
    rows = [[*COLUMNS], *(_cells(run) for run in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if 1 < n < 6 else cell.ljust(w)
            for n, (cell, w) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines) + "\n"


def _run_folders(folder: Path) -> Iterator[Path]:
    """Folders with a recipe.yaml, not those inside of a run; links are not followed."""
    for path, folders, files in os.walk(folder, followlinks=False):
        inside = len(Path(path).relative_to(folder).parts)
        if "recipe.yaml" in files and ("environment.json" in files or "metrics.jsonl" in files):
            folders.clear()
            yield Path(path)
        elif inside >= MOST_DEPTH:
            folders.clear()


def _run(path: Path, held: set[int]) -> dict[str, Any]:
    name, steps = _recipe(path / "recipe.yaml")
    last = last_step(path)
    summary = _object(path / "summary.json")
    return {
        "recipe": name,
        "state": _state(path, summary, held),
        "step": _number(last.get("step")),
        "steps": steps,
        "reward": _number(last.get("reward")),
        "tokens": _number(last.get("tokens_mean")),
        "seconds": round(max(0.0, time.time() - _changed(path)), 1),
    }


def _state(path: Path, summary: Mapping[str, Any], held: set[int]) -> str:
    if any(_inode(path / name) in held for name in ("lock", "ranks.lock")):
        return RUNNING
    if summary.get("status") == "finished":
        return FINISHED
    if (path / "training.json").is_file():
        return TRAINED
    code = _object(path / "ended.json").get("exit_code")
    return FAILED if isinstance(code, int) and code not in SIGNALS else INTERRUPTED


def _locked_files() -> set[int]:
    """Inodes of the files that any process holds. Looking at them, unlike trying them, keeps no run from starting."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    return {
        int(inode)
        for line in lines
        for word in line.split()
        if (inode := word.split(":")[-1]).isdigit() and word.count(":") == 2
    }


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _changed(path: Path) -> float:
    """Time of the newest of a run's records."""
    times = [0.0]
    for name in ("recipe.yaml", "metrics.jsonl", "training.json", "summary.json", "ended.json"):
        try:
            times.append((path / name).stat().st_mtime)
        except OSError:
            continue
    return max(times)


def _recipe(path: Path) -> tuple[str | None, float | None]:
    """Name and number of steps of a recipe as a run writes it out: a YAML reader would take longer than all else."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return None, None
    name = re.search(r"^recipe: *['\"]?([^'\"\n]+)", text, re.M)
    steps = re.search(r"^trainer:\n(?:[ ].*\n)*?  max_steps: (\d{1,12})$", text, re.M)
    return name and name[1], steps and int(steps[1])


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path, {})
    return value if isinstance(value, dict) else {}


def _cells(run: Mapping[str, Any]) -> list[str]:
    of = f"{_shown(run['step'], '.0f')}/{_shown(run['steps'], '.0f')}"
    figures = [_shown(run["reward"], ".3g"), _shown(run["tokens"], ".1f")]
    return [
        _one_line(_text(run["recipe"])) or "-",
        run["state"],
        of,
        *figures,
        _age(run["seconds"]),
        _one_line(run["folder"]),
    ]


def _one_line(text: str) -> str:
    """A name as a terminal may have it."""
    return visible(text.encode("utf-8", "replace").decode()).replace("\n", "␊").replace("\t", "␉")


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _shown(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)


def _number(value: object) -> float | None:
    finite = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    return value if finite else None  # type: ignore[return-value]


def _text(value: object, most: int = 24) -> str:
    text = value if isinstance(value, str) else ""
    return text if len(text) <= most else f"{text[: most - 1]}…"
