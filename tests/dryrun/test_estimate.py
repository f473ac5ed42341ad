"""What `lenrl check` says a recipe takes: against what a training step takes."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from lenrl.config import compose
from lenrl.dryrun.estimate import checkpoint_bytes, estimate
from lenrl.training.prepare import prepare
from lenrl.training.sizes import GIB, shape
from tests.dryrun.one_step import CONFIG, ROWS, TOKENS

ROOT = Path(__file__).resolve().parents[2]
# embeddings and head, norms, and a layer: q, k, v with biases, o, three of the MLP, two norms
LAYER = 512 * 512 + 512 + 2 * (512 * 128 + 128) + 512 * 512 + 3 * 512 * 1536 + 2 * 512
N = 2 * 6000 * 512 + 512 + 6 * LAYER


def estimated(*options, launch="multi_gpu"):
    sizes = [
        "model.dtype=bfloat16",
        "trainer.per_device_train_batch_size=2",
        "trainer.steps_per_generation=4",
    ]
    sizes += ["trainer.gradient_accumulation_steps=4", "trainer.num_generations=8", "trainer.max_steps=10"]
    sizes += ["trainer.max_completion_length=500", "trainer.gradient_checkpointing=true"]
    recipe = compose("grpo", [f"launch={launch}", "launch.num_processes=4", *sizes, *options])
    checked_run = prepare(recipe)
    of = shape(CONFIG, recipe.model.peft)
    return of, checked_run, estimate(of, checked_run)


@pytest.mark.parametrize(
    ("launch", "each"), [("multi_gpu", 8), ("zero2", 2 + 14 / 4), ("zero3", 4), ("fsdp2", 4)]
)
def test_states_of_a_process(launch, each):
    of, checked_run, sizes = estimated(launch=launch)
    assert of.parameters == of.trained == N
    assert sizes["weights_gradients_adam_gib"] == pytest.approx(N * each / GIB, abs=0.006)
    assert checkpoint_bytes(of, checked_run) == N * (6 if launch == "multi_gpu" else 14)


def test_a_teacher_is_held_beside_the_policy():
    plain, taught = estimated()[2], estimated("advantage=crisp")[2]
    assert plain["reference_gib"] == 0
    assert taught["reference_gib"] == pytest.approx(N * 2 / GIB, abs=0.006)
    assert taught["teraflop_of_updates"] > plain["teraflop_of_updates"]
    base = ["advantage={name: crisp, every: 0}", "model.peft={r: 8, target_modules: all-linear}"]
    assert estimated(*base)[2]["reference_gib"] == 0, "it is the model without its adapter"


@pytest.fixture(scope="module")
def steps():
    """(plain, checkpointed): memory and operations of a step that a process of its own takes."""
    command = [sys.executable, "-m", "tests.dryrun.one_step"]
    # memory that is freed goes back to the system at once, so that the peak is what was needed
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("checkpointed", [False, True])
def test_against_a_training_step(steps, checkpointed):
    """With the recipe's rows and tokens.

    The estimate leaves out what the allocator and the kernels need for themselves, and counts lookups as products.
    """
    measured = steps[checkpointed]
    sizes = {"per_device_train_batch_size": ROWS, "num_generations": ROWS, "max_completion_length": TOKENS}
    once = {"gradient_accumulation_steps": 1, "steps_per_generation": 1, "max_steps": 1}
    options = [f"trainer.{name}={value}" for name, value in (sizes | once).items()]
    options.append(f"trainer.gradient_checkpointing={str(checkpointed).lower()}")
    checked_run = prepare(compose("grpo", ["launch=cpu", "model.dtype=float32", *options]))
    estimated = estimate(shape(CONFIG), checked_run)
    assert 1 / 1.7 < estimated["memory_gib"] * GIB / measured["bytes"] < 1.7
    assert 1 < estimated["teraflop_of_updates"] * 1e12 / measured["operations"] < 1.4


def test_what_makes_it_more_or_less():
    plain = estimated()[2]
    larger = estimated("trainer.gradient_checkpointing=false")[2]
    assert larger["teraflop_of_updates"] == pytest.approx(plain["teraflop_of_updates"] * 3 / 4, rel=1e-3)
    assert estimated("trainer.use_vllm=true")[2]["key_values_gib"] is None
    twice = estimated("trainer.num_iterations=2")[2]["teraflop_of_updates"]
    # half the rollouts, each with 2 x 4 passes and one for the log-probs before
    assert twice == pytest.approx(plain["teraflop_of_updates"] * 9 / 8, rel=1e-3)


def test_an_adapter_trains_its_own_parameters_only():
    of, checked_run, _ = estimated("model.peft={r: 4, lora_alpha: 8, target_modules: [q_proj]}")
    assert of.trained == 6 * 4 * (512 + 512)
    assert checkpoint_bytes(of, checked_run) == of.trained * 6


def test_the_table_of_the_papers_is_up_to_date():
    script = runpy.run_path(str(ROOT / "scripts" / "estimates.py"))
    assert script["main"](["--check"]) == 0, "run scripts/estimates.py --write"
