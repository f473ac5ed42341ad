"""A rollout's size in TRL's terms: one rollout on any number of processes, and TRL's arithmetic for its own fields."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenrl.config import compose
from lenrl.config.rollout_size import ACCUMULATION, ROWS, SIZE, STEPS, in_trls_terms
from lenrl.errors import BadInput


@given(
    st.integers(1, 8), st.integers(1, 5), st.integers(1, 4), st.integers(1, 40)
)  # completions of a process's step, processes, updates, limit
def test_the_rollout_is_whole_whatever_the_launch(each, processes, updates, limit):
    size = each * processes * updates
    fields = in_trls_terms({SIZE: size}, updates, processes, limit)
    assert fields[ROWS] * processes * fields[STEPS] == size
    assert fields[STEPS] == updates * fields[ACCUMULATION]
    assert fields[ROWS] <= limit
    larger = [n for n in range(fields[ROWS] + 1, min(each, limit) + 1) if each % n == 0]
    assert not larger  # no larger micro-batch would do


@pytest.mark.parametrize(
    ("given_fields", "updates", "rows", "accumulation", "steps"),
    [
        ({ROWS: 16}, 1, 16, 1, 1),  # TRL's: the rollout is one micro-batch a process
        ({ROWS: 16}, 4, 16, 1, 4),
        ({ROWS: 16, ACCUMULATION: 2}, 4, 16, 2, 8),
        ({ROWS: 4, SIZE: 64}, 2, 4, 4, 8),  # a smaller micro-batch of the same rollout
        ({STEPS: 2}, 4, 32, 1, 2),  # 128 completions on two processes
        ({ROWS: 3, ACCUMULATION: 2, STEPS: 1}, 4, 3, 2, 1),  # a step over two rollouts
        ({}, 1, None, None, None),  # without a limit it is open
        ({ROWS: "many"}, 1, "many", None, None),  # left for the checks of values
    ],
)
def test_trls_own_fields_mean_what_they_mean_there(given_fields, updates, rows, accumulation, steps):
    fields = in_trls_terms(given_fields, updates, processes=2, micro_batch=None)
    assert [fields.get(name) for name in (ROWS, ACCUMULATION, STEPS)] == [rows, accumulation, steps]


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 8, 64, 100])
@pytest.mark.parametrize("updates", [1, 4])
def test_a_size_that_is_left_open_suits_every_launch(processes, updates):
    fields = in_trls_terms({"num_generations": 8}, updates, processes, micro_batch=8)
    rollout = fields[ROWS] * processes * fields[STEPS]
    assert rollout % 8 == 0
    assert rollout <= 128 or rollout == math.lcm(processes * updates, 8)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.generation_batch_size=100", "launch=cpu2", "update.per_rollout=4"], ["multiple of 8", "96 or 104"]),
        (
            [
                *("trainer.generation_batch_size=100", "trainer.per_device_train_batch_size=10"),
                "trainer.steps_per_generation=4",
            ],
            ["contradicts", "= 40 completions"],
        ),
    ],
)  # fmt: skip
def test_sizes_that_do_not_divide_are_refused(overrides, words):
    with pytest.raises(BadInput) as refused:
        compose("grpo", overrides)
    assert all(word in str(refused.value) for word in words)


def test_the_embedded_models_settings_are_no_others():
    own = compose("drpo", ["model.path=org/model"])
    assert own.model.dtype is own.model.micro_batch is own.trainer["learning_rate"] is None
    assert own.trainer["max_completion_length"] == 4096
    assert ROWS not in own.trainer
    assert compose("drpo").trainer["learning_rate"] == 1.5e-4
    known = compose("drpo", ["model.path=Qwen/Qwen3-8B"]).model
    assert (known.dtype, known.think_prefilled) == ("bfloat16", False)  # recipes/model/qwen3_8b.yaml
    paper = compose("paper/drpo_r1_distill_qwen_1_5b", ["model.path=org/copy"])
    assert (paper.model.path, paper.model.dtype, paper.trainer[ROWS]) == ("org/copy", "bfloat16", 2)


def test_a_recipe_of_ones_own_brings_its_model(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "defaults: [base, _self_]\nmodel: {path: org/model, think_prefilled: true}\ntrainer: {max_steps: 7}\n"
    )
    recipe = compose(str(tmp_path / "mine.yaml"))
    assert recipe.model.think_prefilled
    assert (recipe.trainer["max_steps"], recipe.trainer["learning_rate"]) == (7, None)
    assert compose(str(tmp_path / "mine.yaml"), ["model=tiny"]).trainer["learning_rate"] == 1.5e-4
