"""The place of a run: versions, machine, git revision. No variables, no addresses: they may hold secrets."""

import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import lenrl

PACKAGES = ("accelerate", "datasets", "hydra-core", "math-verify", "peft", "torch", "transformers", "trl")


def environment(world_size: int) -> dict[str, object]:
    """Plain values for `environment.json`; `world_size` counts the processes of the run."""
    return {
        "world_size": world_size,
        "versions": {"lenrl": lenrl.__version__, "python": platform.python_version(), **_versions()},
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
            "gpus": _gpus(),
        },
        "git": _git(Path(lenrl.__file__).resolve().parent),
    }


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _git(folder: Path) -> dict[str, str | bool] | None:
    """Revision of the checkout that holds lenrl, and whether tracked files differ; None: no checkout."""
    try:
        revision = _run_git(folder, "rev-parse", "HEAD")
        _run_git(folder, "ls-files", "--error-unmatch", "__init__.py")
        return {"revision": revision, "modified": bool(_run_git(folder, "status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _run_git(folder: Path, *arguments: str) -> str:
    line = ["git", "-C", str(folder), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
