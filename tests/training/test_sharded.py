"""Every launch on two real processes of the CPU: gradients, training, resuming and the weights that are exported."""

import importlib.util

import pytest

from tests.training.runs import launch
from tests.training.sharded import WRAPPED, faults

KINDS = ("gradient", "drpo")  # the others: scripts/scale_matrix.py


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder of a launch with one process: what a gradient must be."""
    out = tmp_path_factory.mktemp("one")
    done = launch("sharded.py", out, "gradient", name="cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
@pytest.mark.xdist_group("sharded")  # they share `one`
@pytest.mark.parametrize("name", WRAPPED)
def test_a_launch_has_the_gradients_of_one_process_resumes_exactly_and_exports_all(one, tmp_path, name):
    if name.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: docs/gpus.md says how")
    done = launch("sharded.py", tmp_path, *KINDS, name=name)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {kind: faults(name, kind, tmp_path, one) for kind in KINDS} == {kind: [] for kind in KINDS}
