"""A teacher takes the policy's place for a pass, moves when it is time, and shares what is not trained."""

from contextlib import contextmanager

import pytest
import torch

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.strategies.base import TeacherRule
from lenrl.training.prepare import prepare
from lenrl.training.teacher import Teacher


class Policy(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = torch.nn.Parameter(torch.tensor(1.0), requires_grad=False)
        self.trained = torch.nn.Parameter(torch.tensor(2.0))

    def step(self) -> None:
        self.trained.data.add_(1.0)


class Adapted(Policy):
    adapted = True

    @contextmanager
    def disable_adapter(self):
        self.adapted = False
        yield
        self.adapted = True


def value(teacher: Teacher) -> float:
    before, place = teacher.model.trained.item(), teacher.model.trained.data_ptr()
    with teacher.in_place():
        found = teacher.model.trained.item()
    assert (teacher.model.trained.item(), teacher.model.trained.data_ptr()) == (before, place)
    return found


@pytest.mark.parametrize(
    ("every", "expected"), [(0, [2, 2, 2, 2, 2]), (1, [2, 3, 4, 5, 6]), (2, [2, 2, 4, 4, 6])]
)
def test_it_is_the_policy_of_the_last_time_it_was_copied(every: int, expected: list[float]) -> None:
    policy = Policy()
    teacher, found = Teacher(policy, TeacherRule("", every)), []
    for step in range(5):
        found.append(value(teacher))
        policy.step()
        teacher.step_ended(step + 1)
    assert found == expected
    assert teacher.weights is not None and set(teacher.weights) == {"trained"}, "the base is shared"


def test_an_error_in_the_pass_leaves_the_policy_as_it_was() -> None:
    policy = Policy()
    teacher = Teacher(policy, TeacherRule("", 0))
    assert value(teacher) == 2
    policy.step()
    with pytest.raises(ValueError), teacher.in_place():
        raise ValueError
    assert policy.trained.item() == 3


def test_a_loaded_one_is_that_of_the_checkpoint() -> None:
    teacher = Teacher(Policy(), TeacherRule("", 5))
    teacher.load({"trained": torch.tensor(7.0)})
    assert value(teacher) == 7


def test_the_start_policy_of_adapters_is_the_model_without_them() -> None:
    policy = Adapted()
    teacher = Teacher(policy, TeacherRule("", 0))
    with teacher.in_place():
        assert not policy.adapted
    assert policy.adapted and teacher.weights is None
    moving = Teacher(policy, TeacherRule("", 2))
    with moving.in_place():
        assert policy.adapted
    assert moving.weights is not None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["launch=zero3"], "crisp.*this launch shards those"),
        (["launch=fsdp2"], "crisp.*this launch shards those"),
        (["trainer.temperature=0.7"], "trainer.temperature=0.7 samples otherwise"),
        (
            ["trainer.top_p=0.95", "trainer.top_k=20"],
            "trainer.top_p=0.95, trainer.top_k=20 samples otherwise",
        ),
        (["sampling=drop_flat"], "leaves out groups of one reward"),
        (["trainer.mask_truncated_completions=true"], "a completion that was cut off learns"),
    ],
)
def test_what_a_teacher_can_t_work_with_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        prepare(compose("crisp", overrides))


def test_a_reference_that_there_is_not_is_refused() -> None:
    from lenrl.strategies.base import Objective

    class Near(Objective):
        name = "near"
        reads_batch = ("ref_logps",)

        def __call__(self, batch, totals):
            return batch.ref_logp_NT.sum(), {}

    recipe = compose("grpo")
    from dataclasses import replace

    from lenrl.training.batching import BatchLayout
    from lenrl.training.recipe_rules import seam

    layout = BatchLayout(1, 4, 1, 1, 1, 4)
    method = replace(recipe.method, objective=Near())
    assert any("trainer.beta=0.0 makes none" in fault for fault in seam(recipe, method, layout))
