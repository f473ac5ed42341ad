"""The real vLLM engine in the training process, on a CPU; scripts/test_vllm makes the environment."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENV = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_USE_AOT_COMPILE": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONPATH": str(ROOT),
}
CAP = 120

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        find_spec("vllm") is None, reason="vLLM has an environment of its own: scripts/test_vllm"
    ),
]


def trained(recipe, out, *more):
    line = [sys.executable, "-m", "tests.vllm.worker", recipe, str(out), *more]
    done = subprocess.run(
        line, cwd=ROOT, env=os.environ | ENV, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads((out / "found.json").read_text())
    print(f"{recipe} {' '.join(more)}: largest difference of log-probs by step {found['gaps']}")
    return found


@pytest.mark.parametrize("recipe", ["drpo", "palu"])
def test_sampler_and_trainer_agree_after_every_update(tmp_path, recipe):
    found = trained(recipe, tmp_path)
    assert len(found["gaps"]) == 4 and found["moved"] > 1e-3, (
        "the weights did not move: the test shows nothing"
    )
    assert max(found["gaps"]) < 1e-3
    rows = found["rows"]
    assert all(row["tokens"] <= min(row["cap"] or CAP, CAP) for row in rows)
    ended = [row for row in rows if not row["truncated"]]
    assert any(row["verdict"] for row in ended), "nothing was right: the test shows nothing"
    assert all(row["tokens"] == (row["cap"] or CAP) for row in rows if row["truncated"])
    if recipe == "palu":
        assert any(row["cap"] and row["cap"] < CAP for row in rows), "no cap was set: the test shows nothing"


def test_a_sampler_that_gets_no_new_weights_is_seen(tmp_path):
    """Else the test above could not fail."""
    assert max(trained("drpo", tmp_path, "stale")["gaps"][1:]) > 0.01
