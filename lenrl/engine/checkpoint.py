"""What a checkpoint of ours adds to TRL's, and how the newest good one is found.

Beside the weights, the optimizer, the scheduler and the random states, a checkpoint carries the strategies'
states (`lenrl.json`) and, written last, a manifest with the size and SHA-256 of every file. A folder without a
manifest, or that does not agree with it, is half-written or damaged: it is passed over with a warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput

log = logging.getLogger("lenrl")

FORMAT = 1
STATE, MANIFEST = "lenrl.json", "manifest.json"
_FOLDER = re.compile(r"checkpoint-(\d+)")


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write our state and then the manifest of the whole folder. Called by the main process only."""
    _write(folder / STATE, {"format": FORMAT, **state})
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    entries = {str(p.relative_to(folder)): {"bytes": p.stat().st_size, "sha256": _sha256(p)} for p in files}
    _write(folder / MANIFEST, {"format": FORMAT, "files": entries})


def read_state(folder: Path) -> dict[str, Any]:
    """Our state of a verified checkpoint."""
    return json.loads((folder / STATE).read_text())


def faults(folder: Path) -> list[str]:
    """What is wrong with a checkpoint; empty: it is whole."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return [f"{manifest} is missing: the save did not finish"]
    try:
        content = json.loads(manifest.read_text())
        version, entries = content["format"], content["files"]
    except (ValueError, KeyError, TypeError):
        return [f"{manifest} cannot be read"]
    if version != FORMAT:
        return [f"{manifest} has format {version!r}, this version reads {FORMAT}"]
    found = []
    for name, entry in entries.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.stat().st_size != entry["bytes"]:
            found.append(f"{path} has {path.stat().st_size} bytes, the manifest says {entry['bytes']}")
        elif _sha256(path) != entry["sha256"]:
            found.append(f"{path} does not have the checksum that the manifest says")
    return found


def step_of(folder: Path) -> int:
    """The optimizer step in a checkpoint's name."""
    match = _FOLDER.fullmatch(folder.name)
    if match is None:
        raise BadInput(f"{folder} is not a checkpoint: its name must be checkpoint-STEP.")
    return int(match[1])


def newest_good(run_dir: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None; damaged ones are passed over with a warning."""
    folders = [p for p in run_dir.glob("checkpoint-*") if p.is_dir() and _FOLDER.fullmatch(p.name)]
    for folder in sorted(folders, key=step_of, reverse=True):
        wrong = faults(folder)
        if not wrong:
            return folder
        log.warning("passing over %s: %s", folder, "; ".join(wrong[:3]))
    return None


def chosen(run_dir: Path, resume: str) -> Path | None:
    """The checkpoint to start from: `auto` takes the newest good one, `never` none, else that folder.

    Raises:
        BadInput: the named folder is no whole checkpoint.
    """
    if resume == "never":
        return None
    if resume == "auto":
        return newest_good(run_dir)
    folder = Path(resume)
    step_of(folder)
    wrong = faults(folder) if folder.is_dir() else [f"{folder} does not exist"]
    if wrong:
        raise BadInput(
            f"resume={resume}: " + "; ".join(wrong[:3]) + ". Name a whole checkpoint, or resume=auto."
        )
    return folder


def refuse(run_dir: Path, resume: str, start: Path | None, processes: int) -> None:
    """Refuse what could only continue wrongly.

    Raises:
        BadInput: `resume=never` in a folder with checkpoints, or a checkpoint of another number of processes.
    """
    if resume == "never" and (there := sorted(p.name for p in run_dir.glob("checkpoint-*"))):
        raise BadInput(
            f"resume=never, and {run_dir} holds {', '.join(there[:3])}. Remove them, choose another folder with "
            "name=... or output_dir=..., or continue with resume=auto."
        )
    if start is not None and (then := read_state(start)["processes"]) != processes:
        raise BadInput(
            f"{start} was written by {then} processes, this launch has {processes}: batches, data order and random "
            f"states would not go on. Launch it with {then} (launch.num_processes={then}), or begin anew with name=..."
        )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all: written aside, flushed to disk, renamed."""
    aside = path.with_suffix(".tmp")
    with aside.open("w") as out:
        json.dump(content, out, allow_nan=False)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
