"""Runs that can't start, or can't work, are refused before anything is launched, with what to set instead."""

import shutil

import pytest

from lenrl.config import compose
from lenrl.dryrun.refusals import refusals
from lenrl.generation.pretrained import TINY
from lenrl.training import sizes
from lenrl.training.prepare import prepare

GPU = ["launch=single_gpu"]


def refused(*options, has=lambda package: True):
    return refusals(prepare(compose("grpo", list(options))), has)


def test_what_can_start_is_not_refused():
    for launch in ("cpu", "cpu2", "single_gpu", "multi_gpu", "zero2", "zero3", "fsdp2"):
        assert refused(f"launch={launch}") == []


@pytest.mark.parametrize(
    ("options", "package", "words"),
    [
        (["launch=zero2"], "deepspeed", ["launch needs DeepSpeed", "'lenrl[deepspeed]'", "launch=fsdp2"]),
        ([*GPU, "trainer.use_vllm=true"], "vllm", ["'trl[vllm]'", "trainer.use_vllm=false"]),
        ([*GPU, "model.attn_implementation=flash_attention_2"], "flash_attn", ["flash-attn", "null"]),
        (["logging.report_to=tensorboard"], "tensorboard", ["'lenrl[tensorboard]'"]),
        (["logging.report_to=[trackio]"], "trackio", ["'lenrl[trackio]'"]),
        (["logging.report_to=mlflow"], "mlflow", ["'lenrl[mlflow]'"]),
    ],
)
def test_packages_that_are_not_installed(options, package, words):
    assert refused(*options) == []
    (line,) = refused(*options, has=lambda name: name != package)
    assert all(word in line for word in [*words, "not installed"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["launch=zero3", "model.dtype=float16"], ["model.dtype=float16", "=bf16", "model.dtype=bfloat16"]),
        (["trainer.learning_rate=0.1"], ["times what fits", "leave it out"]),
        (
            [*GPU, "update.memory_gib=0.1"],
            ["GiB", "device has 0 (update.memory_gib)", "gradient_checkpointing=true", "model.peft"],
        ),
    ],
)  # fmt: skip
def test_settings_that_can_not_work(options, words):
    (line,) = refused(*options)
    assert all(word in line for word in words)


def test_a_model_that_can_not_be_reached(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    own = ["model.dtype=float32", "trainer.per_device_train_batch_size=8", "trainer.learning_rate=1e-5"]
    more = ["trainer.gradient_checkpointing=false", "trainer.use_vllm=false", "update.eval_batch_size=8"]
    (line,) = refused("model.path=org/none", *own, *more)
    assert "org/none" in line
    assert "could not be loaded" in line


def test_the_model_is_built_once_for_settings_and_refusals(monkeypatch, tmp_path):
    built, parameters = [], sizes._parameters
    monkeypatch.setattr(sizes, "_built", {})
    monkeypatch.setattr(sizes, "_parameters", lambda *of: built.append(of) or parameters(*of))
    own = shutil.copytree(TINY, tmp_path / "own")
    assert refused(f"model.path={own}") == []
    assert len(built) == 1
    assert refused(f"model.path={own}", "model.peft={r: 4, lora_alpha: 8}") == []
    assert len(built) == 2
