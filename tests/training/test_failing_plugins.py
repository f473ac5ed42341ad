"""Plug-ins that fail on one of two processes end both with the message, file and line."""

import json

import pytest

from tests.training.failing_plugins import TEXT
from tests.training.runs import launch, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("failing_plugins")]  # they share `ranks`

SAYS = {
    "verifier": ("PluginFailed", "verifier 'fails_on_one' raised ConnectionError", "raise ConnectionError"),
    "evaluation": ("PluginFailed", "verifier 'fails_on_one' raised ConnectionError", "raise ConnectionError"),
    "strategy": (
        "PluginFailed",
        "reward 'strategy_of_one' raised IndexError: a table of my own",
        "raise Ind",
    ),
    "observation": (
        "PluginFailed",
        "'observes_on_one' raised OverflowError: an average of",
        "raise OverflowE",
    ),
    "function": ("PluginFailed", "reward function 'fails_on_one' raised KeyError: 'scale'", "raise KeyError"),
    "verdict": (
        "PluginFailed",
        "returned 0.5 for completion 0, and is taken as the verdict",
        "def verdict_of_one",
    ),
    "nan": ("NonfiniteReward", "returned nan for completion 0", "def wide_on_one"),
    "script's function": ("PluginFailed", "'fails_on_one' raised KeyError: 'scale'", "raise KeyError"),
    "script's verifier": ("PluginFailed", "'fails_on_one' raised ConnectionError", "raise ConnectionError"),
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    out = tmp_path_factory.mktemp("failing")
    done = launch("failing_plugins.py", out)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, [json.loads((out / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("case", SAYS)
def test_both_processes_end_with_the_message(ranks, case):
    out, (first, second) = ranks
    assert first[case] == second[case]
    kind, words, line = SAYS[case]
    assert first[case].startswith(kind) and words in first[case]
    number = next(n for n, text in enumerate(TEXT.splitlines(), start=1) if line in text)
    if case != "nan":
        assert f"{out / 'failing.py'}, line {number}" in first[case]


def test_a_script_trains_on_two_processes_and_both_refuse_the_folder_of_another(ranks):
    out, both = ranks
    assert [found["script"] for found in both] == ["finished"] * 2
    [line] = lines_of(out / "script")
    assert 0 <= line["accuracy"] <= 1 and line["grad_norm"] is not None
    assert (out / "script" / "model").is_dir() and len(list(out.glob("script/**/events.out.tfevents.*"))) == 1
    for found in both:
        assert (
            found["another script"].startswith("BadInput")
            and "holds the run of another" in found["another script"]
        )
