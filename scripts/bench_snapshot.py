"""Seconds that the snapshot of a step takes, with PALU's table of many prompts.

    python scripts/bench_snapshot.py [PROMPTS]

A full deep copy at every optimizer step, against what `StepSnapshot.take` does after a step that has not changed the
table and after one that has (16 prompts visited).
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from lenrl.config import compose
from lenrl.rollouts import RewardResult
from lenrl.strategies.examples import groups
from lenrl.training.rollback import StepSnapshot
from lenrl.training.run_state import StrategyStates

PROMPTS = 40_000
VISITED = 16  # prompts a rollout
TURNS = 7


def visit(states: StrategyStates, count: int) -> None:
    """One visit to the first prompts of the table."""
    batch = groups([[10, 20]] * count, [[1, 1]] * count, max_length=100)
    batch = batch.with_(prompt_ids=tuple(f"q{i}" for i in range(count)))
    states.observe(batch, RewardResult(batch.correct_PG))


def milliseconds(work: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> float:
    """Median over a few turns; `before` is not counted."""
    seconds = []
    for _ in range(TURNS):
        before()
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return 1000 * median(seconds)


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else PROMPTS
    states = StrategyStates(compose("palu").method)
    visit(states, count)
    snapshot = StepSnapshot({"strategies": states})
    rows = {
        "full deep copy": milliseconds(lambda: copy.deepcopy(states.method.state_dict())),
        "take, table changed": milliseconds(lambda: snapshot.take(1), lambda: visit(states, VISITED)),
        "take, table unchanged": milliseconds(lambda: snapshot.take(1)),
    }
    print(f"PALU's table of {count} prompts, milliseconds an optimizer step:")
    for name, value in rows.items():
        print(f"  {name:<22} {value:10.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
