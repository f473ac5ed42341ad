"""Inputs that a fuzzer found worth keeping, each replayed: nothing that reads text of others breaks its promise."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS
from tests.fuzz.words import WORDS

JUDGED = {"comparison", "gym"}  # under a net that sees its whole process: in one of its own, as workers are
REPLAY = "import sys; from tests.fuzz.test_corpus import replay; replay(sys.argv[1])"


def replay(name: str) -> None:
    inputs = corpus.read(name)
    assert inputs
    for data in inputs:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_a_fuzzer_found_breaks_a_promise(name):
    if name not in JUDGED:
        replay(name)
        return
    line, root = [sys.executable, "-c", REPLAY, name], Path(__file__).parents[2]
    done = subprocess.run(line, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_target_has_its_words_and_its_corpus():
    assert set(TARGETS) == set(WORDS) == {path.stem for path in corpus.FOLDER.iterdir()}
