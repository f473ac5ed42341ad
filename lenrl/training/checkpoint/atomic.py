"""Folders that appear whole or not at all: written in `.partial/`, flushed, renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from lenrl.errors import RunFailed
from lenrl.training.checkpoint.manifest import flush, write_manifest

PARTIAL = ".partial"  # in the run's folder: what is being written; removed when a run starts


@contextmanager
def atomic_folder(run_dir: Path, name: str, *, is_main: bool) -> Iterator[Path]:
    """The folder in which to write `name` until `publish` puts it in its place; removed if anything fails.

    All processes write into the same folder, so the file system must be shared.

    Raises:
        RunFailed: it could not be written, with the path and the reason.
    """
    part = run_dir / PARTIAL
    folder = part / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except BaseException as fault:
        if is_main:
            shutil.rmtree(part, ignore_errors=True)
        # A full disk is an OSError to Python, a RuntimeError to torch's writer; others are of the processes' links.
        if isinstance(fault, (OSError, SafetensorError)) or type(fault) is RuntimeError and _of_torch(fault):
            raise RunFailed(
                f"{run_dir / name} could not be saved: {_reason(fault)}. What was there before is untouched; make room "
                f"or repair {run_dir}, and the same command continues from the last checkpoint."
            ) from fault
        raise


def publish(folder: Path, *, manifest: bool = True) -> Path:
    """Put a folder from `.partial/` in its place, in one step. Called by the main process only."""
    run_dir = folder.parent.parent
    target = run_dir / folder.name
    if manifest:
        write_manifest(folder)
    else:
        for path in [*folder.rglob("*"), folder]:
            flush(path)
    if target.exists():
        os.rename(target, folder.parent / f"{folder.name}.replaced")
    os.rename(folder, target)
    flush(run_dir)
    shutil.rmtree(folder.parent, ignore_errors=True)
    return target


def _of_torch(fault: BaseException) -> bool:
    """A message of torch's writer, which does not say what the system said."""
    return any(word in str(fault) for word in ("inline_container", "PytorchStreamWriter", "iostream"))


def _reason(fault: BaseException) -> str:
    if _of_torch(fault):
        return "the disk is full, or takes no files of that size (torch's writer does not say which)"
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return str(fault).strip().splitlines()[0][:300] if str(fault).strip() else type(fault).__name__
