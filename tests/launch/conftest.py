"""Fixtures of several files of this folder."""

import pytest

TRAPS = (
    "psutil",
    "yaml",
    "sympy",
    "math_verify",
    "pebble",
    "regex",
    "accelerate",
    "trl",
    "wandb",
    "torch",
    "numpy",
)


@pytest.fixture
def trapped(tmp_path, monkeypatch):
    """A working directory full of modules that note it when they are imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in TRAPS:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'sprung')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(folder)
    return folder
