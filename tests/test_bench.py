"""scripts/bench.py on a small case: both sides do the same work, and every phase has its seconds."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench

    yield bench
    for name in ("bench", "bench_sides", "bench_completions", "bench_memory"):
        sys.modules.pop(name)


def test_both_sides_train_on_the_same_completions(bench, tmp_path):
    case = replace(bench.CASES["uniform"], prompts=2, group=4, cap=40, phases=bench.PHASES)
    of = bench.settings(case, tmp_path, tmp_path, steps=2)
    found = bench.measure(case, of, 1, tmp_path)
    assert found["grad_norm_differs"] < 1e-5
    assert found["groups_with_signal"] == 1.0
    assert min(found["useful_token_share"].values()) > 0.9  # completions are all as long as the cap
    for side in ("trl", "lenrl"):
        seconds = {phase: row[side] for phase, row in found["phases"].items()}
        assert set(seconds) == set(bench.PHASES) and min(seconds["step"], seconds["update"]) > 0
        assert sum(seconds.values()) <= 2 * seconds["step"] + 1e-6


def test_cases_by_name(bench):
    assert bench.chosen("memory,late,late") == ["late", *bench.SETS["memory"]]
    with pytest.raises(argparse.ArgumentTypeError, match="no case 'sooner'"):
        bench.chosen("sooner")
