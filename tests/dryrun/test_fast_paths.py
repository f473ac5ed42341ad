"""Fast paths of launches, on machines that are made up."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from lenrl.config import compose
from lenrl.dryrun import check
from lenrl.dryrun.fast_paths import fast_paths
from lenrl.generation.pretrained import TINY
from lenrl.training import build, grpo_config, hardware, prepare
from lenrl.training.forced import ForcedTokens
from lenrl.training.hardware import Machine, attention, fallbacks, mixed_precision
from lenrl.training.rollout import RolloutScoring
from lenrl.training.trainer import SlottedGRPO

CPU = Machine(gpus=0)
GPUS = Machine(gpus=8, bfloat16=True)
FLASH = replace(GPUS, attention=("flash_attention_3", "flash_attention_2"))
CONFIG = AutoConfig.from_pretrained(TINY)
MEANT_FOR_GPUS = ("single_gpu", "multi_gpu", "zero2", "zero3", "fsdp2")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """A run in this process has told its launcher's precision to the environment."""
    monkeypatch.delenv(hardware.PRECISION, raising=False)


def recipe_of(*options):
    return compose("grpo", options)


@pytest.mark.parametrize(
    ("options", "machine", "precision", "reason"),
    [
        (["launch=multi_gpu"], GPUS, "bf16", "launch.mixed_precision=bf16"),
        (["launch=zero3", "model.dtype=float32"], GPUS, "bf16", "launch.mixed_precision=bf16"),
        (["launch=zero3", "model.dtype=bfloat16", "launch.mixed_precision=no"], GPUS, "no", "launch.mixed"),
        (["launch=fsdp2", "launch.mixed_precision=fp16"], GPUS, "fp16", "launch.mixed_precision=fp16"),
        (["launch=fsdp2", "trainer.bf16=false"], GPUS, "no", "trainer.bf16=false"),
        (["launch=single_gpu"], replace(GPUS, bfloat16=False), "no", "does not compute in bfloat16"),
        (["launch=single_gpu"], CPU, "no", "no GPU"),
        (["launch=single_gpu", "trainer.bf16=true"], CPU, "bf16", "trainer.bf16=true"),
        (["launch=cpu"], GPUS, "no", "launch.mixed_precision=no"),
    ],
)
def test_precision(options, machine, precision, reason):
    found, why = mixed_precision(recipe_of(*options), machine, {})
    assert found == precision and reason in why


def test_a_launcher_that_was_started_by_hand_says_the_precision_itself():
    by_hand = {hardware.PRECISION: "bf16"}
    assert mixed_precision(recipe_of(), GPUS, by_hand)[0] == "bf16"
    assert mixed_precision(recipe_of(), CPU, by_hand)[0] == "no"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("launch", MEANT_FOR_GPUS)
def test_transformers_and_the_launcher_are_told_the_same_precision(launch, dtype, tmp_path, monkeypatch):
    """DeepSpeed has the launch's and refuses to start where transformers' is another."""
    recipe = recipe_of(f"launch={launch}", f"model.dtype={dtype}", "launch.num_processes=1")
    checked_run = prepare.prepare(recipe)
    for machine in (GPUS, CPU):
        monkeypatch.setattr(grpo_config, "this_machine", lambda machine=machine: machine)
        config = grpo_config.grpo_config(checked_run, tmp_path)
        assert (config.bf16, config.fp16) == (machine is GPUS, False)


@pytest.mark.parametrize("launch", MEANT_FOR_GPUS)
def test_a_launch_for_gpus_says_what_it_falls_back_to(launch):
    recipe = recipe_of(f"launch={launch}", "launch.num_processes=1" if launch == "single_gpu" else "seed=0")
    [warning] = prepare.prepare(recipe).warnings  # of this machine, which has none
    assert "this machine has none" in warning and "float32" not in warning
    assert ("DDP" in warning) == (launch in ("multi_gpu", "fsdp2"))
    assert ("DS_ACCELERATOR" in warning) == launch.startswith("zero")
    assert fallbacks(recipe.launch, GPUS) == []


def test_no_warning_where_a_launch_is_for_the_cpu():
    assert [fallbacks(recipe_of(f"launch={name}").launch, CPU) for name in ("cpu", "cpu2")] == [[], []]


def test_attention():
    recipe = recipe_of("launch=multi_gpu")
    assert attention(recipe, CONFIG, "bf16", CPU) == (None, "there is no GPU")
    assert attention(recipe, CONFIG, "no", FLASH)[0] is None  # float32
    assert "flash-attn-3" in attention(recipe, CONFIG, "bf16", GPUS)[1]
    assert "from the hub" in attention(recipe, CONFIG, "bf16", replace(GPUS, kernels=True))[1]
    named = recipe_of("launch=multi_gpu", "model.attn_implementation=eager")
    assert attention(named, CONFIG, "bf16", FLASH)[0] == "eager"
    # here the package is not installed after all: transformers' own check has the last word
    name, reason = attention(recipe, CONFIG, "bf16", FLASH)
    assert name is None and "flash_attention_3" in reason


def test_the_model_is_loaded_with_the_attention_that_was_chosen(monkeypatch):
    monkeypatch.setattr(build, "attention", lambda *_: ("flash_attention_2", "installed"))
    config = SimpleNamespace(model_init_kwargs={"dtype": "float32"})
    build._choose_attention(recipe_of(), config, SimpleNamespace(config=CONFIG))
    assert config.model_init_kwargs == {"dtype": "float32", "attn_implementation": "flash_attention_2"}


def test_report(monkeypatch):
    def paths(machine, *options):
        found = fast_paths(recipe_of("launch=multi_gpu", *options), CONFIG, machine)
        return {name: path.taken for name, path in found.items()}, found

    taken, _ = paths(CPU)
    assert [name for name, is_taken in taken.items() if not is_taken] == ["bf16", "attention", "vllm"]
    monkeypatch.setattr(hardware, "_refusal", lambda *_: None)
    taken, _ = paths(replace(FLASH, vllm=True), "trainer.use_vllm=true")
    sampled = ["own_sampler", "verification_beside_sampling"]
    assert [name for name, is_taken in taken.items() if not is_taken] == sampled
    taken, found = paths(GPUS, "trainer.use_vllm=true", "trainer.gradient_checkpointing=true")
    assert not taken["vllm"] and "not installed" in found["vllm"].reason and not taken["no_recomputation"]
    _, found = paths(GPUS, "model.dtype=bfloat16")
    assert "1/512" in found["bf16"].reason
    _, found = paths(GPUS, "model.dtype=bfloat16", "model.peft={r: 4}")
    assert "adapters in float32" in found["bf16"].reason
    for machine in (GPUS, CPU):  # a launch for GPUs is looked at on a laptop too
        _, found = paths(machine, "model.dtype=bfloat16", "launch=fsdp2")
        assert "float32 weights beside" in found["bf16"].reason
        _, found = paths(machine, "model.dtype=bfloat16", "launch=fsdp2", "trainer.bf16=false")
        assert "1/512" in found["bf16"].reason


def test_adapters_of_a_model_in_bfloat16_are_float32():
    """What `lenrl check` says of them, here with the call that TRL makes where nothing is sharded or quantized."""
    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.bfloat16)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    dtypes = {p.requires_grad: p.dtype for p in adapted.parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}


def test_the_parts_of_the_lean_update_go_by_its_own_rules():
    lean = ("chunks_by_length", "rows_with_advantage_only")

    def parts(*options, config=CONFIG):
        found = fast_paths(recipe_of(*options), config, CPU)
        return [found[name].taken for name in lean], [found[name].reason for name in lean]

    assert parts() == ([True, True], ["update.lean=true"] * 2)
    assert parts("update.lean=false")[0] == [False, False]
    taken, reasons = parts("trainer.beta=0.1")
    assert taken == [True, False] and "trainer.beta=0.1" in reasons[1]
    learned = AutoConfig.for_model("gpt2")  # positions that count the padding
    assert parts(config=learned)[0] == [False, False]
    experts = AutoConfig.for_model("qwen3_moe")
    assert parts(config=experts)[0] == [False, False]
    assert parts("trainer.router_aux_loss_coef=0.0", config=experts)[0] == [True, True]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["launch=fsdp2"], "shards"),
        (["launch=zero3"], "shards"),
        (["trainer.use_transformers_continuous_batching=true"], "continuous_batching=true"),
        (["trainer.cache_implementation=static"], "cache_implementation"),
        (["launch=zero2", "trainer.top_k=20", "trainer.min_p=0.1"], None),
    ],
)
def test_lenrls_sampler_goes_by_its_own_rules(options, reason):
    path = fast_paths(recipe_of(*options), CONFIG, CPU)["own_sampler"]
    assert path.taken == (reason is None) and (reason or "") in path.reason
    mamba = AutoConfig.for_model("mamba", num_hidden_layers=1, hidden_size=8, vocab_size=9)
    assert not fast_paths(recipe_of(), mamba, CPU)["own_sampler"].taken


def test_check_says_it(capsys):
    facts = check.check(recipe_of("launch=single_gpu"))
    assert facts["fast_paths"]["bf16"] == "no: there is no GPU"
    check.show(facts)
    shown = capsys.readouterr().out
    assert "fast paths" in shown and "machine has none" in " ".join(shown.split())


def test_vllm_gets_a_cap_for_each_row():
    """As `palu` sets them; the engine of TRL is a stand-in, `scripts/test_vllm` has the real one."""
    seen = []
    llm = SimpleNamespace(generate=lambda prompts, sampling_params, use_tqdm: seen.append(sampling_params))
    own, shared = llm.generate, SimpleNamespace(max_tokens=9, temperature=1.0)
    engine = SimpleNamespace(mode="colocate", tensor_parallel_size=1, llm=llm)
    scoring: Any = SimpleNamespace(
        current=SimpleNamespace(cap=9, prompt_budgets=[SimpleNamespace(cap=cap) for cap in (3, None, 5)])
    )
    current = SimpleNamespace(forced=ForcedTokens([[], [], [7]], [1.0] * 3, wanted=True))
    rollout = SimpleNamespace(caps=RolloutScoring.caps.fget(scoring), current=current)
    trainer: Any = SimpleNamespace(use_vllm=True, vllm_generation=engine, rollout=rollout)
    with SlottedGRPO._capped(trainer, 9):
        llm.generate(["a", "b", "c"], sampling_params=shared, use_tqdm=False)
    assert [(p.max_tokens, p.temperature) for p in seen[0]] == [(3, 1.0), (9, 1.0), (4, 1.0)]
    assert shared.max_tokens == 9 and llm.generate is own
