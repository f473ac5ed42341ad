"""Runs that are cut and go on, of several methods: on one process, and on two. All: scripts/resume_matrix.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import matrix
from tests.training.matrix import Cell

# With 4 and 2 a rollout lasts 4 steps: 6 is inside one, 8 ends an epoch.
SUBSET = [
    (Cell("drpo", 4, 2), (5, 7)),
    (Cell("dot", 4, 1, lora=True), (7,)),
    (Cell("laser_d", 1, 1), (8,)),
    pytest.param(Cell("crisp", 4, 1), (7,), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("cell", "cuts"), SUBSET, ids=lambda value: getattr(value, "name", None))
def test_a_cut_run_ends_with_the_same_tensors_completions_and_figures(cell, cuts, tmp_path):
    whole = matrix.uninterrupted(cell, tmp_path / "whole", unsaved=cell.method == "drpo")
    assert matrix.resumed(cell, tmp_path / "whole", cuts, tmp_path / "cut") == whole


@pytest.mark.slow
def test_on_two_processes_too(tmp_path):
    """Every process has its own random streams and its own part of the rollout; groups straddle them."""
    root = Path(__file__).parents[2]
    line = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        f"{root}/recipes/launch/cpu2.yaml",
    ]
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    worker = [str(root / "tests/training/resume_on_two.py"), str(tmp_path)]
    done = subprocess.run(
        [*line, *worker], env=env, cwd=root, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["processes"] == 2
    assert all(found["equal"].values()), found
