"""Inputs that a fuzzer found worth keeping, each replayed: nothing that reads text of others breaks its promise."""

import pytest

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS
from tests.fuzz.words import WORDS


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_a_fuzzer_found_breaks_a_promise(name):
    inputs = corpus.read(name)
    assert inputs
    for data in inputs:
        TARGETS[name](data)


def test_every_target_has_its_words_and_its_corpus():
    assert set(TARGETS) == set(WORDS) == {path.stem for path in corpus.FOLDER.iterdir()}
