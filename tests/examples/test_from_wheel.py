"""Examples outside the repository, with the library of a fresh wheel."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.examples.outside import ROOT, lenrl, metrics
from tests.examples.test_llm_judge import server  # noqa: F401 - a fixture
from tests.forks import Forks

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]
SHORT = ("trainer.max_steps=1", "trainer.max_completion_length=32")
CHAINS = (
    "trainer.max_steps=3",
    "trainer.save_steps=1",
    "trainer.per_device_train_batch_size=16",
    "trainer.max_completion_length=64",
    "task.train=4",
    "task.min_operands=2",
    "task.max_operands=3",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder that a fresh wheel is unpacked into, as pip would do it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True, cwd=folder, timeout=300)
    [file] = folder.glob("lenrl-*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def processes(wheel, tmp_path_factory):
    with Forks(tmp_path_factory.mktemp("said"), library=wheel) as forks:
        yield forks


def test_the_wheel_is_the_library_in_use(wheel, processes, tmp_path):
    code = "import lenrl; print(lenrl.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(wheel / "lenrl" / "__init__.py")
    assert processes.run(tmp_path, "-c", code).stdout == done.stdout


def test_unit_tests(processes, tmp_path):
    said = lenrl(processes, "check", "unit_tests", tmp_path)
    assert "found 12, kept 12" in said and "unit_tests can be trained" in said
    lenrl(processes, "train", "unit_tests", tmp_path, *SHORT)
    [line] = metrics(tmp_path)
    assert line["accuracy"] == 0.0 and line["groups_with_signal"] == 0.0, (
        "the embedded reasoner writes no code"
    )


def test_trl_rewards(processes, tmp_path):
    lenrl(processes, "train", "trl_rewards", tmp_path, "trainer.max_steps=1")
    [line] = metrics(tmp_path)
    assert -0.5 < line["reward_overlong"] < 0 and line["reward_rechecks"] < 0
    assert line["reward"] < line["accuracy"] and 0 < line["logged_without_recheck"] < 1


def test_own_task(processes, tmp_path):
    lenrl(processes, "train", "own_task", tmp_path, "trainer.max_steps=1")
    [line] = metrics(tmp_path)
    assert line["accuracy"] > 0.3, "the embedded reasoner knows such chains"


def test_a_method_with_state_goes_on_with_its_targets(processes, tmp_path):
    small = (*CHAINS, "task.train=2")
    lenrl(processes, "train", "stateful_method", tmp_path, *small)
    whole = metrics(tmp_path)
    assert len({line["target_mean"] for line in whole}) > 1, "no target has moved"
    assert any(line["reward"] != line["accuracy"] for line in whole), "no target has counted"
    for name in ("checkpoint-3", "model"):
        shutil.rmtree(tmp_path / "out" / name)
    lenrl(processes, "train", "stateful_method", tmp_path, *small)
    again = metrics(tmp_path)
    assert [line["step"] for line in again] == [1, 2, 3]
    for name in ("reward", "target_mean", "tokens_mean", "loss"):
        assert again[2][name] == whole[2][name], "the continued step is not the one that was not interrupted"


def test_a_process_reward_gives_tokens_of_one_completion_different_advantages(processes, tmp_path):
    lenrl(processes, "train", "process_reward", tmp_path, *CHAINS)
    lines = metrics(tmp_path)
    assert all(line["penalty_leverage"] is None for line in lines), "rewards are a token's"
    right = [line for line in lines if line["accuracy"]]
    assert right and all(line["reward"] > line["accuracy"] for line in right), "true lines earn nothing"
    assert any(line["groups_with_signal"] for line in lines)


def test_llm_judge(processes, tmp_path, server):  # noqa: F811
    place = f"verifier.base_url=http://127.0.0.1:{server.server_address[1]}/v1"
    lenrl(
        processes,
        "train",
        "llm_judge",
        tmp_path,
        *CHAINS,
        "trainer.max_steps=1",
        "verifier.model=judge",
        place,
    )
    [line] = metrics(tmp_path)
    assert line["accuracy"] > 0 and line["verifier_errors"] == 0
    assert 1 < len({entry[-1] for entry in server.seen}) <= 16 and server.asked.startswith("Problem: ")
