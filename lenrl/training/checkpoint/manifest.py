"""The manifest of a checkpoint: its format, and the size and SHA-256 of every file in it."""

import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from lenrl.errors import BadInput

FORMAT = 3
STATE, MANIFEST = "lenrl.json", "manifest.json"
PLAIN = "plain"  # the backend that writes one optimizer.pt; FSDP and DeepSpeed write shards of their own
PICKLES = ("optimizer.pt", "scheduler.pt", "scaler.pt")  # torch loads them with weights_only
_PICKLED = (".bin", ".pkl", ".pt", ".pth")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
_THREADS = 4  # hashing and flushing leave the interpreter lock alone


def write_state(folder: Path, state: Mapping[str, object]) -> None:
    """Write our state, to be read back by `read_state`."""
    (folder / STATE).write_text(json.dumps(state, allow_nan=False))


def read_state(folder: Path) -> dict[str, Any]:
    """Our state of a verified checkpoint."""
    return json.loads((folder / STATE).read_text())


def write_manifest(folder: Path) -> None:
    """Flush every file of the folder to the disk, then write the manifest of them."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)
    with ThreadPoolExecutor(_THREADS) as pool:
        entries_of = pool.map(_flushed, files)
    entries = {
        p.relative_to(folder).as_posix(): {"bytes": size, "sha256": digest}
        for p, (size, digest) in zip(files, entries_of, strict=True)
    }
    path = folder / MANIFEST
    path.write_bytes(_encoded({"format": FORMAT, "files": entries}))
    flush(path)
    for inner in [*(p for p in folder.rglob("*") if p.is_dir()), folder]:
        flush(inner)


def faults(folder: Path, *, checksums: bool = True) -> list[str]:
    """Faults of a checkpoint; empty: it is whole.

    Args:
        folder: the checkpoint.
        checksums: False: only names and sizes, which reads next to nothing.

    Raises:
        BadInput: the checkpoint is whole as far as one can tell, but of another format.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return [f"{manifest} is missing: the save did not finish"]
    try:
        raw = manifest.read_bytes()
        content = json.loads(raw)
        version = content["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return [f"{manifest} cannot be read"]
    # Every byte counts: it must say what its own checksum says, spelled as we spell it in every format.
    if not isinstance(content.get("files"), dict) or raw != _encoded(
        {"format": version, "files": content["files"]}
    ):
        return [f"{manifest} does not have the checksum that it says"]
    if version != FORMAT:
        raise BadInput(
            f"{folder} has format {version!r}, this version of lenrl reads format {FORMAT}. Continue the run with the "
            "version that began it (environment.json names it), or begin anew in another folder with name=..."
        )
    entries = content["files"]
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    wrong = [f"{folder / name} is missing" for name in sorted(set(entries) - there)]
    wrong += [f"{folder / name} is not in the manifest" for name in sorted(there - set(entries))]
    for name in sorted(set(entries) & there):
        size, expected = (folder / name).stat().st_size, entries[name]["bytes"]
        if size != expected:
            wrong.append(f"{folder / name} has {size} bytes, the manifest says {expected}")
    if checksums and not wrong:
        with ThreadPoolExecutor(_THREADS) as pool:
            names = sorted(entries)
            digests = pool.map(lambda name: _sha256(folder / name), names)
        wrong += [
            f"{folder / name} does not have the checksum that the manifest says"
            for name, digest in zip(names, digests, strict=True)
            if digest != entries[name]["sha256"]
        ]
        wrong = wrong or _content_faults(folder, set(entries))
    return wrong


def _content_faults(folder: Path, names: set[str]) -> list[str]:
    """Faults of an untouched folder: transformers would go on without what it lacks, or load a pickle."""
    if STATE not in names:
        return [f"{folder / STATE} is missing"]
    state = read_state(folder)
    needed = {"trainer_state.json", *(f"random-{rank}.safetensors" for rank in range(state["processes"]))}
    if state["rollout"]:
        needed |= {f"rollout-{rank}.safetensors" for rank in range(state["processes"])}
    plain = state["backend"] == PLAIN
    if plain:
        needed |= {"optimizer.pt", "scheduler.pt"}
    wrong = [f"{folder / name} is missing" for name in sorted(needed - names)]
    if plain and not names & set(_WEIGHTS):
        wrong.append(f"{folder} holds no weights")
    for name in sorted(names) if plain else ():
        if name.endswith(_PICKLED):
            wrong += (
                _pickle_faults(folder / name)
                if name in PICKLES
                else [f"{folder / name} does not belong here"]
            )
    if f"checkpoint-{state['step']}" != folder.name:
        wrong.append(f"{folder} was written as checkpoint-{state['step']}")
    return wrong


def _pickle_faults(path: Path) -> list[str]:
    """The fault that torch would find in the file; tensors are not read, nothing in it is called."""
    try:
        torch.load(path, weights_only=True, map_location="meta", mmap=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as fault:
        return [f"{path} is refused unread, it holds more than tensors: {str(fault).splitlines()[0][:200]}"]
    return []


def flush(path: Path) -> None:
    """Onto the disk: a file's content, a folder's entries."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flushed(path: Path) -> tuple[int, str]:
    flush(path)
    return path.stat().st_size, _sha256(path)


def _encoded(content: Mapping[str, object]) -> bytes:
    """The only spelling of a manifest: compact, sorted, with the checksum of itself."""
    digest = hashlib.sha256(_compact(content)).hexdigest()
    return _compact({**content, "sha256": digest})


def _compact(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _sha256(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
