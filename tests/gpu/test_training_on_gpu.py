"""Launches, precisions and kernels on a real GPU: `pytest -m gpu`."""

import re
from importlib.util import find_spec

import pytest

from tests.gpu.device import CUDA, DEVICE, LAUNCHES, accelerated, found, marks

pytestmark = marks


@pytest.fixture
def two_steps(tmp_path):
    """What `two_steps.py` found."""

    def trained(recipe, *overrides, **launch):
        accelerated("gpu/two_steps.py", tmp_path, recipe, *overrides, **launch)
        return found(tmp_path / "found.json")

    return trained


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_launch_trains_in_bfloat16(two_steps, name):
    if name.startswith("zero") and find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    if not CUDA and name.startswith(("zero", "fsdp")):
        pytest.skip("on the CPU: tests/training/test_sharded.py")
    seen = two_steps("drpo", name=name, precision="bf16")
    assert seen["device"] == DEVICE and seen["processes"] == 1
    assert "torch.bfloat16" in seen["dtypes"] or not CUDA  # a CPU computes in the weights' precision
    assert re.fullmatch(LAUNCHES[name], seen["wrapped"])
    assert seen["finite"] and any(seen["grad_norms"])


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flash_attention_2"])
def test_attention(two_steps, attention):
    if attention == "flash_attention_2" and (not CUDA or find_spec("flash_attn") is None):
        pytest.skip("flash-attn is not installed")
    dtype = ["model.dtype=bfloat16", "model.peft={r: 8, target_modules: all-linear}"]
    seen = two_steps("grpo", f"model.attn_implementation={attention}", *dtype, precision="bf16")
    assert seen["attention"] == attention and seen["finite"] and any(seen["grad_norms"])


@pytest.mark.parametrize("recipe", ["dot", "palu", "grpo_lambda", "efficient", "dler"])
def test_a_method_trains(two_steps, recipe):
    group = (
        ["trainer.num_generations=16"] if recipe == "dot" else []
    )  # an outlier of three deviations needs it
    seen = two_steps(recipe, *group, precision="bf16")
    assert seen["device"] == DEVICE and seen["finite"]
