"""Launch by dtype, adapter, vLLM, attention and extras, down to the objects that TRL, accelerate and DeepSpeed are
configured by, on a machine of eight GPUs that is made up. A cell is refused with its option, or is built as it says."""

import importlib
import itertools
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands import launch as accelerate_launch
from accelerate.state import AcceleratorState
from accelerate.utils.dataclasses import FullyShardedDataParallelPlugin
from transformers import TrainingArguments, integrations
from transformers.trainer_optimizer import _OPTIMIZER_HANDLERS

from lenrl.config import compose
from lenrl.dryrun.refusals import refusals
from lenrl.launch.command import DEVICES, command, seen, started
from lenrl.training import hardware, peft
from lenrl.training.grpo_config import grpo_config
from lenrl.training.prepare import prepare

LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8}
ADAPTERS = (None, LORA, {**LORA, "quantization": {"load_in_4bit": True}})
ON_GPUS = ("single_gpu", "multi_gpu", "multi_node", "zero2", "zero3", "fsdp2")
CHOSEN = ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "use_vllm")


@pytest.fixture(autouse=True)
def eight_gpus(monkeypatch):
    """Nothing of this is left in the process: nor states of accelerate, nor DeepSpeed's configuration."""

    def count():
        visible = os.environ.get(DEVICES)
        return 8 if visible is None else len([name for name in visible.split(",") if name])

    faked = {
        "device_count": count,
        "is_available": lambda: count() > 0,
        "is_bf16_supported": lambda *_, **__: True,
        "get_device_capability": lambda *_: (9, 0),
        "get_device_properties": lambda _: SimpleNamespace(total_memory=80 * 2**30),
        "set_device": lambda _: None,
    }
    for name, fake in faked.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.delenv(DEVICES, raising=False)
    monkeypatch.delenv(hardware.PRECISION, raising=False)
    monkeypatch.setattr(hardware, "this_machine", hardware.this_machine.__wrapped__)
    for module in (
        "lenrl.training.fit",
        "lenrl.training.prepare",
        "lenrl.training.grpo_config",
        "lenrl.dryrun.refusals",
    ):
        monkeypatch.setattr(f"{module}.this_machine", hardware.this_machine)
    monkeypatch.setattr(peft, "find_spec", lambda name: object())
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def with_deepspeed(tmp_path, monkeypatch):
    """Transformers' module of DeepSpeed, loaded where a package of that name and version is installed."""
    (tmp_path / "deepspeed").mkdir()
    (tmp_path / "deepspeed" / "__init__.py").touch()
    (tmp_path / "deepspeed-0.19.8.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: deepspeed\nVersion: 0.19.8\n"
    (tmp_path / "deepspeed-0.19.8.dist-info" / "METADATA").write_text(metadata)
    monkeypatch.syspath_prepend(tmp_path)
    name = "transformers.integrations.deepspeed"
    monkeypatch.setattr(integrations, "deepspeed", importlib.import_module(name))
    monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module(name)
    monkeypatch.setattr(integrations, "HfDeepSpeedConfig", module.HfDeepSpeedConfig)
    return module


def environment(launch, folder, monkeypatch):
    """What accelerate's launcher tells the processes that it starts."""
    (folder / "accelerate.yaml").write_text(yaml.safe_dump(launch))
    line = command(folder, (), 8)
    arguments = accelerate_launch.launch_command_parser().parse_args(line[line.index("--quiet") :])
    told: dict[str, str] = {}

    def start(_, env):
        told.update(env)
        return SimpleNamespace(wait=lambda: None, returncode=0)

    def prepared(arguments):
        told.update(accelerate_launch.prepare_deepspeed_cmd_env(arguments)[1])

    with monkeypatch.context() as patch:
        patch.setattr("torch.distributed.run.run", lambda _: told.update(os.environ))
        patch.setattr(accelerate_launch, "deepspeed_launcher", prepared)  # which wants DeepSpeed itself
        patch.setattr(accelerate_launch, "check_cuda_p2p_ib_support", lambda: True)
        patch.setattr(subprocess, "Popen", start)
        accelerate_launch.launch_command(arguments)
    return {name: value for name, value in told.items() if os.environ.get(name) != value} | seen(launch, {})


def cells(name):
    """A launch's recipe with every combination of the others."""
    ip = ["launch.main_process_ip=127.0.0.1"] if name == "multi_node" else []
    base = compose("grpo", [f"launch={name}", *ip, "trainer.gradient_checkpointing=true"])
    trainer = {**base.trainer, **dict.fromkeys(CHOSEN)}
    precisions = ("bf16", "fp16") if name in ON_GPUS else ("no",)
    for precision, dtype, adapter, vllm, attention in itertools.product(
        precisions,
        (None, "float32", "bfloat16", "float16"),
        ADAPTERS,
        (False, True),
        (None, "flash_attention_2"),
    ):
        model = {"dtype": dtype, "peft": adapter, "attn_implementation": attention}
        yield base.model_copy(
            update={
                "launch": {**base.launch, "mixed_precision": precision},
                "model": base.model.model_copy(update=model),
                "trainer": {**trainer, "use_vllm": vllm},
            }
        )


def reasons(recipe):
    """Options that can't work in this cell, with a value that they have in it."""
    sharded = recipe.launch["distributed_type"] in ("DEEPSPEED", "FSDP")
    precision, dtype, attention = (
        recipe.launch["mixed_precision"],
        recipe.model.dtype,
        recipe.model.attn_implementation,
    )
    if (precision, dtype) in (("bf16", "float16"), ("fp16", "bfloat16")):
        yield f"model.dtype={dtype}"
    if (precision, dtype) == ("fp16", "float16") and not sharded and recipe.model.peft is None:
        yield "torch refuses"
    if attention and precision == "no":
        yield f"model.attn_implementation={attention}"


@pytest.mark.parametrize("name", ["cpu", "cpu2", *ON_GPUS])
def test_a_cell_is_refused_by_its_option_or_built_as_it_says(name, tmp_path, monkeypatch, with_deepspeed):
    built = 0
    told = {}
    for recipe in cells(name):
        run = prepare(recipe)
        found = refusals(run, lambda package: True)
        expected = list(reasons(run.recipe))
        assert len(found) == len(expected) and all(map(str.__contains__, found, expected)), (found, expected)
        extras = refusals(run, lambda package: False)[: -len(found) or None]
        wanted = [
            (recipe.launch["distributed_type"] == "DEEPSPEED", "'lenrl[deepspeed]'"),
            (run.recipe.trainer["use_vllm"], "'trl[vllm]'"),
            (recipe.model.attn_implementation, "'flash-attn'"),
        ]
        needed = [extra for needs, extra in wanted if needs]
        assert len(extras) == len(needed) and all(map(str.__contains__, extras, needed)), (extras, needed)
        if found:
            continue
        precision = recipe.launch["mixed_precision"]
        if precision not in told:
            told[precision] = environment(recipe.launch, tmp_path, monkeypatch)
        with monkeypatch.context() as patch:
            for variable, value in told[precision].items():
                patch.setenv(variable, value)
            patch.setattr(TrainingArguments, "world_size", property(lambda _, run=run: run.layout.processes))
            agrees(run, grpo_config(run, tmp_path), with_deepspeed)
        built += 1
    assert built >= 12


@pytest.mark.parametrize(
    "options",
    [
        ["launch=cpu"],
        ["launch=single_gpu"],
        ["launch=cpu", "launch.use_cpu=false", "launch.mixed_precision=fp16"],
    ],
)
def test_a_single_process_gets_what_accelerates_launcher_would_give_it(options, tmp_path, monkeypatch):
    launch = compose("grpo", options).launch
    told = environment(launch, tmp_path, monkeypatch)
    line, env = started(command(tmp_path, (), 8), launch)
    assert {name: value for name, value in env.items() if os.environ.get(name) != value} == told
    assert line[: line.index("--")] == [sys.executable, "-P", "-m", "lenrl.launch.launcher"]
    rank = line[line.index("--") + 1 :]
    assert rank[:4] == [sys.executable, "-m", "lenrl.launch.worker", "--config-name"]


@pytest.mark.parametrize(
    "options",
    [["launch=cpu2"], ["launch=single_gpu", "launch.gpu_ids='1'"], ["launch=cpu", "launch.debug=true"]],
)
def test_any_other_launch_is_accelerates(options, tmp_path):
    line, env = started(command(tmp_path), compose("grpo", options).launch)
    assert line == command(tmp_path) and "ACCELERATE_USE_CPU" not in env


def agrees(run, config, deepspeed):
    """The objects say what the recipe says."""
    recipe, launch, trainer = run.recipe, run.recipe.launch, run.recipe.trainer
    precision = launch["mixed_precision"]
    assert (config.bf16, config.fp16) == (precision == "bf16", precision == "fp16")
    assert config.mixed_precision == precision
    assert config.activation_checkpointing and config.gradient_checkpointing
    assert config.use_vllm == trainer["use_vllm"] and config.vllm_mode == "colocate"
    assert config.model_init_kwargs["dtype"] == recipe.model.dtype
    assert config.model_init_kwargs.get("attn_implementation") == recipe.model.attn_implementation
    assert ("quantization_config" in config.model_init_kwargs) == (
        "quantization" in (recipe.model.peft or {})
    )
    assert config.per_device_train_batch_size == trainer["per_device_train_batch_size"]
    assert config.device.type == ("cpu" if launch["use_cpu"] else "cuda")
    if launch["num_processes"] == 1:
        assert config.n_gpu <= 1  # TRL has no nn.DataParallel
    if stage := (launch.get("deepspeed_config") or {}).get("zero_stage"):
        plugin = config.deepspeed_plugin
        engine = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin))
        deepspeed.propagate_args_to_deepspeed(engine, config)  # as the trainer does; refuses what differs
        assert plugin.zero_stage == plugin.deepspeed_config["zero_optimization"]["stage"] == stage
        assert plugin.deepspeed_config[precision]["enabled"] is True
        assert plugin.zero3_init_flag == plugin.zero3_save_16bit_model == (stage == 3)
    else:
        assert config.deepspeed_plugin is None
    assert (os.environ.get("ACCELERATE_USE_FSDP") == "true") == (launch["distributed_type"] == "FSDP")
    if launch["distributed_type"] == "FSDP":
        plugin = FullyShardedDataParallelPlugin()
        assert plugin.fsdp_version == 2 and "FULL_STATE_DICT" in str(plugin.state_dict_type)
        assert not plugin.activation_checkpointing  # the trainer's is on


def test_torch_refuses_to_scale_gradients_in_float16():
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(weight.float().sum()).backward()
    with pytest.raises(ValueError, match="unscale FP16"):
        scaler.unscale_(torch.optim.SGD([weight], lr=1.0))


OTHERS = [
    (["launch=multi_gpu", "trainer.vllm_tensor_parallel_size=3"], ["vllm_tensor_parallel_size=3", "divisor"]),
    (["launch=multi_gpu", "trainer.vllm_mode=beside"], ["trainer.vllm_mode='beside'", "colocate and server"]),
    (["model.peft={r: 4, quantization: {load_in_8bit: true}}"], ["load_in_8bit", "load_in_4bit"]),
    (["trainer.loss_type=vespo"], ["vllm_importance_sampling_mode=sequence_mask", "token_truncate or token_mask"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(([*options, "trainer.use_vllm=true"], words) for options, words in OTHERS),
        (["trainer.sync_ref_model=true"], ["trainer.beta=0", "Set trainer.beta"]),
        (["trainer.sync_ref_model=true", "trainer.beta=0.1", "model.peft={r: 4}"], ["model.peft", "base"]),
        (["model.peft={r: 4, target_modules: [q_proj, lm_head]}"], ["holds lm_head", "all-linear"]),
        (["launch=multi_gpu", "launch.num_processes=16"], ["16 a machine", "8 GPUs", "launch.num_processes=8"]),
        (
            [
                "launch=fsdp2",
                "launch.fsdp_config.fsdp_activation_checkpointing=true",
                "trainer.gradient_checkpointing=true",
            ],
            ["twice", "false"],
        ),
        (
            ["launch=multi_gpu", "launch.mixed_precision=no", "model.attn_implementation=flash_attention_3"],
            ["16 bit only", "launch.mixed_precision=bf16"],
        ),
    ],
)  # fmt: skip
def test_settings_that_a_library_refuses_together(options, words):
    (line,) = refusals(prepare(compose("grpo", options)), lambda package: True)
    assert all(word in line for word in words), line


@pytest.mark.parametrize("optimizer", _OPTIMIZER_HANDLERS)
def test_an_optimizer_whose_package_is_not_installed_is_refused(optimizer):
    """As transformers itself would, when the model is loaded."""
    context = SimpleNamespace(
        args=SimpleNamespace(optim=optimizer, optim_target_modules=["all-linear"]),
        **{"model": torch.nn.Linear(1, 1), "optimizer_kwargs": {}, "adam_kwargs": {}, "optim_args": {}},
    )
    said = ""
    try:
        _OPTIMIZER_HANDLERS[optimizer](context)
    except (ImportError, ValueError) as fault:
        said = str(fault)
    found = refusals(prepare(compose("grpo", [f"trainer.optim={optimizer.value}"])))
    assert bool(found) == ("install" in said)
    assert all(f"trainer.optim={optimizer.value}" in line and "pip install" in line for line in found)
