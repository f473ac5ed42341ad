"""Settings that a recipe leaves open: chosen for the model's size, the launch and its memory, kept as the run began."""

import pytest
import yaml
from transformers import AutoTokenizer, Qwen2Config

from lenrl.config import compose
from lenrl.dryrun.estimate import estimate
from lenrl.errors import BadInput
from lenrl.generation.pretrained import TINY
from lenrl.training.fit import ASSUMED_GIB, fit, learning_rate_for
from lenrl.training.hardware import Machine
from lenrl.training.prepare import prepare
from lenrl.training.sizes import shape

QWEN2_1_5B = Qwen2Config(
    hidden_size=1536, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2, intermediate_size=8960,
    vocab_size=151936, tie_word_embeddings=True, max_position_embeddings=32768, architectures=["Qwen2ForCausalLM"],
)  # fmt: skip
NONE = Machine(gpus=0, ram_gib=24)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with the configuration of a model of 1.5B parameters, and no weights."""
    folder = tmp_path_factory.mktemp("qwen2_1_5b")
    QWEN2_1_5B.save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("launch", ["multi_gpu", "zero2", "zero3", "fsdp2"])
def test_readmes_command_fits_eight_gpus(model, launch):
    options = [f"model.path={model}", f"launch={launch}", "trainer.max_completion_length=8192"]
    checked_run = prepare(compose("drpo", options))
    recipe, layout = checked_run.recipe, checked_run.layout
    assert recipe.trainer["learning_rate"] == 2e-6
    assert recipe.model.dtype == ("float32" if launch == "multi_gpu" else "bfloat16")
    assert (layout.rows_per_rollout, layout.updates_per_rollout, layout.processes) == (128, 4, 8)
    assert estimate(shape(QWEN2_1_5B), checked_run)["memory_gib"] < ASSUMED_GIB
    assert set(checked_run.reasons) == {
        "model.dtype",
        *(f"trainer.{name}" for name in ("learning_rate", "gradient_checkpointing", "use_vllm")),
        *(f"trainer.{name}" for name in ("per_device_train_batch_size", "gradient_accumulation_steps")),
        *("trainer.steps_per_generation", "update.eval_batch_size"),
    }


def test_memory_decides(model):
    def fitted(*options, machine=NONE):
        return fit(compose("grpo", [f"model.path={model}", *options]), machine=machine).recipe

    small = fitted("launch=single_gpu", "update.memory_gib=48", "trainer.max_completion_length=2048")
    large = fitted("launch=single_gpu", "trainer.max_completion_length=2048", machine=Machine(1, gpu_gib=140))
    assert small.trainer["per_device_train_batch_size"] < large.trainer["per_device_train_batch_size"]
    long = fitted("launch=zero3", "update.memory_gib=40", "trainer.max_completion_length=16384")
    assert long.trainer["gradient_checkpointing"]
    assert fitted(
        "launch=zero2", "trainer.max_completion_length=30000", "trainer.generation_batch_size=2048"
    ).trainer["use_vllm"]
    assert fitted("launch=single_gpu", machine=Machine(1, gpu_gib=80, vllm=True)).trainer["use_vllm"]
    adapter = fitted("launch=single_gpu", "model.peft={r: 16, lora_alpha: 32}")
    assert (adapter.model.dtype, adapter.trainer["learning_rate"]) == ("bfloat16", 2e-5)
    with pytest.raises(BadInput, match=r"launch=zero3.*model\.peft.*max_completion_length.*memory_gib"):
        fitted("launch=single_gpu", "update.memory_gib=16")
    with pytest.raises(BadInput) as refused:
        fitted("launch=cpu", "update.memory_gib=16")
    assert "zero3" not in str(refused.value)  # a launch for GPUs


def test_what_the_recipe_says_is_kept(model):
    own = ["trainer.learning_rate=1e-6", "model.dtype=bfloat16", "trainer.gradient_checkpointing=true"]
    fitted = fit(compose("grpo", [f"model.path={model}", "launch=zero2", *own]), machine=NONE)
    assert fitted.recipe.trainer["learning_rate"] == 1e-6
    assert not {"trainer.learning_rate", "model.dtype", "trainer.gradient_checkpointing"} & set(
        fitted.reasons
    )
    assert fit(compose("grpo")).reasons == {}  # recipes/model/tiny.yaml says all


def test_a_run_goes_on_with_the_settings_that_it_began_with(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = compose("grpo", [f"model.path={model}", "launch=single_gpu"])
    began = fit(recipe, machine=Machine(1, gpu_gib=140)).recipe
    folder = began.run_dir()
    assert folder == recipe.run_dir()
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(began.resolved()))
    goes_on = fit(recipe, machine=Machine(1, gpu_gib=80))
    assert goes_on.recipe.identity() == began.identity()
    assert set(goes_on.reasons.values()) == {"as this run began"}
    assert compose(str(folder)).identity() == began.identity()


def test_rates_fall_with_the_size_of_a_model():
    rates = [learning_rate_for(n, adapter=False) for n in (10**5, 10**8, 10**9, 10**10)]
    assert rates == sorted(rates, reverse=True)
