"""DRPO through the whole trainer: the gradient that reaches the optimizer is the closed form."""

import pytest

from tests.training.drpo_gradient import compare


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_drpo_gradient_is_the_closed_form(tmp_path, micro_batches):
    found = compare(tmp_path, rows=32, micro_batches=micro_batches, updates=1)
    assert found["difference"] < 1e-5
    assert found["size"] > 0
    assert (found["scattered"] > 0) == (micro_batches > 1), "TRL shuffles rows after scoring"


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_drpo_gradient_with_its_kl_term_is_the_closed_form(tmp_path, micro_batches):
    """The second of two updates a rollout: the policy has moved, the constraint works."""
    found = compare(tmp_path, rows=32, micro_batches=micro_batches, updates=2)
    assert found["difference"] < 1e-5
    assert found["kl"] > 0
    assert found["scattered"] > 0
