"""What `lenrl check` says a recipe takes: against arithmetic done by hand, and against what a model holds."""

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import Qwen2Config

from lenrl.config import compose
from lenrl.dryrun.estimate import GIB, PEAK_BYTES, PEAK_FLOPS, checkpoint_bytes, estimate, shape
from lenrl.training.prepare import prepare

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Qwen2Config(
    hidden_size=256, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2, intermediate_size=512,
    vocab_size=1000, tie_word_embeddings=False,
)  # fmt: skip
# embeddings and head, norms, and a layer: q, k, v with biases, o, three of the MLP, two norms
LAYER = 256 * 256 + 256 + 2 * (256 * 64 + 64) + 256 * 256 + 3 * 256 * 512 + 2 * 256
N = 2 * 1000 * 256 + 256 + 4 * LAYER


def found(*options, launch="multi_gpu"):
    given = [
        "model.dtype=bfloat16",
        "trainer.per_device_train_batch_size=2",
        "trainer.steps_per_generation=4",
    ]
    given += ["trainer.gradient_accumulation_steps=4", "trainer.num_generations=8", "trainer.max_steps=10"]
    given += ["trainer.max_completion_length=500", "trainer.gradient_checkpointing=true"]
    recipe = compose("grpo", [f"launch={launch}", "launch.num_processes=4", *given, *options])
    checked_run = prepare(recipe)
    of = shape(CONFIG, recipe.model.peft)
    return of, checked_run, estimate(of, checked_run)


@pytest.mark.parametrize(
    ("launch", "each"), [("multi_gpu", 8), ("zero2", 2 + 14 / 4), ("zero3", 4), ("fsdp2", 4)]
)
def test_states_of_a_process(launch, each):
    of, checked_run, sizes = found(launch=launch)
    assert of.parameters == of.trained == N
    assert sizes["weights_gradients_adam_gib"] == pytest.approx(N * each / GIB, abs=0.006)
    assert checkpoint_bytes(of, checked_run) == N * (6 if launch == "multi_gpu" else 14)


def test_the_parts_by_hand():
    _, _, sizes = found()
    row = 2 * 500  # rows by tokens of a micro-batch
    assert sizes["logits_gib"] == pytest.approx(2 * row * 1000 * 4 / GIB, abs=0.006)
    assert sizes["key_values_gib"] == pytest.approx(8 * 500 * 2 * 4 * 2 * 32 * 2 / GIB, abs=0.006)
    assert sizes["activations_gib"] == pytest.approx(row * 256 * (4 * 2 + 34) / GIB, abs=0.006)
    # 10 rollouts of 32 rows: forward, backward, and the forward that checkpointing repeats
    operations = 10 * 32 * 500 * 4 * (2 * N + 2 * 4 * 256 * 500)
    assert sizes["teraflop_of_updates"] == pytest.approx(operations / 1e12, rel=1e-3)
    assert sizes["hours_updates_at_most"] == round(operations / 4 / (0.4 * PEAK_FLOPS) / 3600, 2)
    read = 10 * 500 * (2 * N + 8 * 500 * 2 * 4 * 2 * 32 * 2 / 2)
    assert sizes["hours_sampling_at_most"] == round(read / (0.5 * PEAK_BYTES) / 3600, 2)


def test_what_makes_it_more_or_less():
    plain = found()[2]
    larger = found("trainer.gradient_checkpointing=false")[2]
    assert larger["teraflop_of_updates"] == pytest.approx(plain["teraflop_of_updates"] * 3 / 4, rel=1e-3)
    assert found("trainer.use_vllm=true")[2]["key_values_gib"] is None
    twice = found("trainer.num_iterations=2")[2]["teraflop_of_updates"]
    # half the rollouts, each with 2 x 4 passes and one for the log-probs before
    assert twice == pytest.approx(plain["teraflop_of_updates"] * 9 / 8, rel=1e-3)


def test_an_adapter_trains_its_own_parameters_only():
    of, checked_run, _ = found("model.peft={r: 4, lora_alpha: 8, target_modules: [q_proj]}")
    assert of.trained == 4 * 4 * (256 + 256)
    assert checkpoint_bytes(of, checked_run) == of.trained * 6


def test_the_table_of_the_papers_is_up_to_date():
    done = subprocess.run([sys.executable, ROOT / "scripts/estimates.py", "--check"], check=False, cwd=ROOT)
    assert done.returncode == 0, "run scripts/estimates.py --write"
