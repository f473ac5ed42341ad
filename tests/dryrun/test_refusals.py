"""Runs that can't start, or can't work, are refused before anything is launched, with what to set instead."""

import json
import re
import shutil

import huggingface_hub
import pytest

from lenrl.cli import main
from lenrl.config import compose
from lenrl.dryrun.refusals import refusals
from lenrl.errors import BadInput
from lenrl.generation.pretrained import TINY
from lenrl.launch import supervise as supervising
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
        (
            ["launch=zero2"],
            "deepspeed",
            ["DEEPSPEED needs DeepSpeed", "'lenrl[deepspeed]'", "launch=fsdp2"],
        ),
        ([*GPU, "trainer.use_vllm=true"], "vllm", ["'trl[vllm]'", "trainer.use_vllm=false"]),
        ([*GPU, "model.attn_implementation=flash_attention_2"], "flash_attn", ["flash-attn", "null"]),
        (["logging.report_to=tensorboard"], "tensorboard", ["'lenrl[tensorboard]'"]),
        (["logging.report_to=[trackio]"], "trackio", ["'lenrl[trackio]'"]),
        (["logging.report_to=mlflow"], "mlflow", ["'lenrl[mlflow]'"]),
        (["trainer.optim=paged_adamw_8bit"], "bitsandbytes", ["'lenrl[qlora]'", "adamw_torch"]),
        (["trainer.use_liger_kernel=true"], "liger_kernel", ["liger-kernel"]),
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
        (["model.attn_implementation=spda"], ["'spda'", "Did you mean model.attn_implementation=sdpa?"]),
        (["model.peft={r: 4, target_modules: [foo]}"], ["model.peft: peft finds no place", "{'foo'}"]),
        (["trainer.lr_scheduler_kwargs={foo: 1}"], ["lr_scheduler_type=linear", "'foo'"]),
        (["trainer.lr_scheduler_type=cosine_with_min_lr"], ["lr_scheduler_kwargs=None", "min_lr"]),
        (
            [*GPU, "update.memory_gib=0.1"],
            ["GiB", "device has 0 (update.memory_gib)", "gradient_checkpointing=true", "model.peft"],
        ),
    ],
)  # fmt: skip
def test_settings_that_can_not_work(options, words):
    (line,) = refused(*options)
    assert all(word in line for word in words)


@pytest.mark.parametrize(
    "options",
    [
        "model.attn_implementation=flex_attention",
        "trainer.lr_scheduler_type=polynomial",
        "trainer.lr_scheduler_type=reduce_lr_on_plateau",
        "trainer.lr_scheduler_kwargs={}",
    ],
)
def test_settings_that_can_work(options):
    assert refused(options) == []


@pytest.mark.parametrize(
    "option",
    [
        "trainer.save_strategy=sometimes",
        "trainer.cache_implementation=foo",
        "trainer.min_p=2.0",
        "trainer.repetition_penalty=0.0",
        "trainer.ref_model_sync_steps=0",
        "trainer.optim_args=foo",
    ],
)
def test_values_that_would_be_a_traceback_of_the_libraries_are_refused(option):
    with pytest.raises(BadInput, match=re.escape(option[:10])):
        prepare(compose("grpo", [option]))


def test_check_says_of_the_folder_and_the_hub_what_train_would_say(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lenrl.dryrun.check.check", lambda recipe: {"refusals": []})
    shown = []
    monkeypatch.setattr("lenrl.dryrun.check.show", shown.append)
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").touch()
    for options, words in (
        (["hub.push=true"], "hub.push=true needs hub.repo"),
        (["output_dir=file/run"], "can't be written"),
        (["output_dir=full"], "holds no run"),
        (["output_dir=full", "resume=never"], "resume=never"),
        (["resume=nope"], "is not a checkpoint"),
    ):
        assert main(["check", "grpo", *options]) == 2
        (line,) = shown[-1]["refusals"]
        assert words in line
    assert main(["check", "grpo"]) == 0 and not (tmp_path / "outputs").exists()


def test_a_model_that_can_not_be_reached(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    own = ["model.dtype=float32", "trainer.per_device_train_batch_size=8", "trainer.learning_rate=1e-5"]
    more = ["trainer.gradient_checkpointing=false", "trainer.use_vllm=false", "update.eval_batch_size=8"]
    (line,) = refused("model.path=org/none", *own, *more)
    assert "org/none" in line
    assert "could not be loaded" in line


@pytest.mark.parametrize("verb", ["check", "train"])
def test_gold_answers_that_are_sentences_are_refused_before_anything_is_launched(
    verb, tmp_path, monkeypatch, capsys
):
    """`verifier.kind=math` would read another number in them, or none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supervising, "supervise", lambda *_, **__: pytest.fail("launched"))
    golds = [f"Tom has {i} apples, which he likes" for i in range(40)]
    rows = [json.dumps({"prompt": f"how many apples? {i}", "answer": gold}) for i, gold in enumerate(golds)]
    (tmp_path / "words.jsonl").write_text("\n".join(rows))
    line = ["grpo", "task=words.jsonl", "task.split=all", "task.dev=0", "task.test=0", "verifier.kind=math"]
    assert main([verb, *line, "trainer.generation_batch_size=16"]) == 2
    said = capsys.readouterr().err
    assert "have no readable gold answer" in said and "words.jsonl" in said and "verifier.kind" in said
    assert not (tmp_path / "outputs").exists() or not list((tmp_path / "outputs").rglob("*.yaml"))


def test_train_makes_the_checks_of_check(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supervising, "supervise", lambda *_, **__: pytest.fail("launched"))
    assert main(["train", "grpo", "trainer.learning_rate=0.1", "trainer.optim=paged_lion_8bit"]) == 2
    assert main(["train", "grpo", "trainer.learning_rate=0.1", "launch.num_process=2"]) == 2
    said = capsys.readouterr().err
    assert "trainer.optim=paged_lion_8bit needs bitsandbytes" in said and "num_processes" in said


def test_the_model_is_built_once_for_settings_and_refusals(monkeypatch, tmp_path):
    built, parameters = [], sizes._parameters
    monkeypatch.setattr(sizes, "_built", {})
    monkeypatch.setattr(sizes, "_parameters", lambda *of: built.append(of) or parameters(*of))
    own = shutil.copytree(TINY, tmp_path / "own")
    assert refused(f"model.path={own}") == []
    assert len(built) == 1
    assert refused(f"model.path={own}", "model.peft={r: 4, lora_alpha: 8}") == []
    assert len(built) == 2
