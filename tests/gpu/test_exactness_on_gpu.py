"""What must be equal on one kind of GPU: tokens, gradients of the lean update, resumed runs: `pytest -m gpu`."""

import sys

import pyarrow.parquet as pq
import pytest

from tests.gpu.device import LAUNCH, ROOT, accelerated, ended, found, lenrl, marks, trained
from tests.training.matrix import cut, outcome
from tests.training.runs import lines_of

pytestmark = marks


def test_the_sampler_gives_generates_tokens():
    """The script's own exit code says so; in float32."""
    script = str(ROOT / "scripts" / "bench_eval.py")
    said = ended([sys.executable, script, "--problems", "64", "--sizes", "16", "--rounds", "1"])
    assert "0 completions differ" in said


@pytest.mark.parametrize(
    "cell", ["grpo", "drpo, 2 updates", "kl_cov, 2 updates", "grpo, lora", "grpo, checkpointing"]
)
def test_the_lean_update_has_the_gradient_of_the_padded_one(tmp_path, cell):
    accelerated("training/lean_gradients.py", tmp_path, cell)
    seen = found(tmp_path / f"{cell}.json")
    assert seen["difference"] < 1e-5 and seen["norm"] > 0
    assert seen["useful"] >= seen["useful_trl"]


@pytest.mark.parametrize("recipe", ["drpo", "palu"])
def test_a_run_that_was_cut_ends_bit_for_bit(tmp_path, recipe):
    """With torch's deterministic kernels; without, sums on a GPU may be taken in another order."""
    given = ["trainer.full_determinism=true", "trainer.max_steps=4", "trainer.steps_per_generation=2"]
    given += ["trainer.save_steps=1", "trainer.save_total_limit=null", "task.dev=0", "task.test=0"]
    trained(recipe, tmp_path / "whole", *given)
    assert any(line["grad_norm"] for line in lines_of(tmp_path / "whole")[2:]), "nothing could go wrong"
    for step in (1, 2):  # inside a rollout, and at its end
        after = cut(tmp_path / "whole", step, tmp_path / f"cut{step}")
        trained(recipe, after, *given)
        assert outcome(after) == outcome(tmp_path / "whole")


def test_an_evaluation_is_the_same_on_a_gpu_and_on_the_cpu(tmp_path):
    """Greedy, in float32: two in a hundred answers may part where two tokens are nearly as likely."""
    texts = {}
    for device in ("cpu", "cuda" if LAUNCH == "single_gpu" else "cpu"):
        out = tmp_path / device
        lenrl(
            "eval",
            "tiny",
            "task.test=100",
            "dtype=float32",
            "greedy=true",
            f"device={device}",
            "--out",
            str(out),
        )
        (file,) = out.glob("completions-*.parquet")
        texts[device] = pq.read_table(file)["completion"].to_pylist()
    first, *others = texts.values()
    assert len(first) == 100
    for other in others:
        assert sum(a == b for a, b in zip(first, other, strict=True)) >= 98
