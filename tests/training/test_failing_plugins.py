"""Plug-ins that fail on one of two processes end both with the message, file and line."""

import json

import pytest

from tests.training.failing_plugins import CASES, TEXT
from tests.training.runs import launch

pytestmark = pytest.mark.slow

SAYS = {
    "verifier": ("PluginFailed", "verifier 'fails_on_one' raised ConnectionError", "raise ConnectionError"),
    "evaluation": ("PluginFailed", "verifier 'fails_on_one' raised ConnectionError", "raise ConnectionError"),
    "function": ("PluginFailed", "reward function 'fails_on_one' raised KeyError: 'scale'", "raise KeyError"),
    "verdict": (
        "PluginFailed",
        "returned 0.5 for completion 0, and is taken as the verdict",
        "def verdict_of_one",
    ),
    "nan": ("NonfiniteReward", "returned nan for completion 0", "def wide_on_one"),
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    out = tmp_path_factory.mktemp("failing")
    done = launch("failing_plugins.py", out)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, [json.loads((out / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("case", CASES)
def test_both_processes_end_with_the_message(ranks, case):
    out, (first, second) = ranks
    assert first[case] == second[case]
    kind, words, line = SAYS[case]
    assert first[case].startswith(kind) and words in first[case]
    number = next(n for n, text in enumerate(TEXT.splitlines(), start=1) if line in text)
    if case != "nan":
        assert f"{out / 'failing.py'}, line {number}" in first[case]
