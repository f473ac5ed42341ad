"""Examples outside the repository, with the library of a fresh wheel."""

import subprocess
import sys
import zipfile

import pytest

from tests.examples.outside import ROOT, lenrl, metrics

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]
SHORT = ("trainer.max_steps=1", "trainer.max_completion_length=32")


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


def test_the_wheel_is_the_library_in_use(wheel, tmp_path):
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


def test_unit_tests(wheel, tmp_path):
    said = lenrl("check", "unit_tests", tmp_path, library=wheel)
    assert "found 12, kept 12" in said and "unit_tests can be trained" in said
    lenrl("train", "unit_tests", tmp_path, *SHORT, library=wheel)
    [line] = metrics(tmp_path)
    assert line["accuracy"] == 0.0 and line["groups_with_signal"] == 0.0, (
        "the embedded reasoner writes no code"
    )


def test_trl_rewards(wheel, tmp_path):
    lenrl("train", "trl_rewards", tmp_path, "trainer.max_steps=1", library=wheel)
    [line] = metrics(tmp_path)
    assert -0.5 < line["reward_overlong"] < 0 and line["reward_rechecks"] < 0
    assert line["reward"] < line["accuracy"] and 0 < line["logged_without_recheck"] < 1


def test_own_task(wheel, tmp_path):
    assert "alternating" in lenrl("check", "own_task", tmp_path, library=wheel)
    lenrl("train", "own_task", tmp_path, "trainer.max_steps=1", library=wheel)
    [line] = metrics(tmp_path)
    assert line["accuracy"] > 0.3, "the embedded reasoner knows such chains"
