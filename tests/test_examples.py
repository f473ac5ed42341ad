"""The examples: each file's own examples hold, and each trains from a folder outside the repository."""

from __future__ import annotations

import doctest
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
METHODS = ("process_reward", "stateful_method", "unit_tests")
SMALL = (
    "trainer.max_steps=3",
    "trainer.per_device_train_batch_size=16",
    "trainer.max_completion_length=64",
    "trainer.eval_steps=0",
    "trainer.save_steps=1",
    "task.train=4",
    "task.min_operands=2",
    "task.max_operands=3",
    "output_dir=out",
)


@pytest.mark.parametrize("name", METHODS)
def test_its_docstrings_hold(name: str) -> None:
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / name / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    result = doctest.testmod(module)
    assert result.attempted > 2 and result.failed == 0


def train(name: str, folder: Path, *overrides: str) -> list[dict[str, Any]]:
    """The lines of a short run in an empty folder."""
    for file in (ROOT / "examples" / name).iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    words = ["--config-name", f"{name}.yaml", "--plugin", f"{name}.py", *SMALL, *overrides]
    done = subprocess.run(
        [sys.executable, "-m", "lenrl.run_process", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]


def test_a_method_with_state_goes_on_with_its_targets(tmp_path: Path) -> None:
    whole = train("stateful_method", tmp_path, "task.train=2")
    assert len({line["target_mean"] for line in whole}) > 1, "no target has moved"
    assert any(line["reward"] != line["accuracy"] for line in whole), "no target has counted"
    out = tmp_path / "out"
    shutil.rmtree(out / "checkpoint-3")
    shutil.rmtree(out / "model")
    again = train("stateful_method", tmp_path, "task.train=2")
    assert [line["step"] for line in again] == [1, 2, 3]
    for name in ("reward", "target_mean", "tokens_mean", "loss"):
        assert again[2][name] == whole[2][name], "the continued step is not the one that was not interrupted"


def test_a_process_reward_gives_tokens_of_one_completion_different_advantages(tmp_path: Path) -> None:
    lines = train("process_reward", tmp_path)
    assert all(line["penalty_leverage"] is None for line in lines), "rewards are a token's"
    right = [line for line in lines if line["accuracy"]]
    assert right and all(line["reward"] > line["accuracy"] for line in right), "true lines earn nothing"
    assert any(line["groups_with_signal"] for line in lines)
