"""The snapshot of a step: what it copies, and that it goes back exactly."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from lenrl.config import compose
from lenrl.rollouts import RewardResult
from lenrl.strategies.base import Budget, PromptBudget
from lenrl.strategies.budgets.palu import Palu
from lenrl.strategies.examples import groups
from lenrl.training.rollback import StepSnapshot
from lenrl.training.run_state import HeldElsewhere, RandomStreams, StrategyStates

PROMPTS = 40_000


@pytest.fixture
def table() -> Palu:
    """PALU after one visit to each of its prompts."""
    rule = Palu()
    observe(states_of(rule), *(f"q{i}" for i in range(PROMPTS)))
    return rule


def states_of(budget: Budget) -> StrategyStates:
    return StrategyStates(replace(compose("palu").method, budget=budget))


def observe(states: StrategyStates, *prompts: str) -> None:
    """A rollout of these prompts ends."""
    batch = groups([[10, 20]] * len(prompts), [[1, 1]] * len(prompts), max_length=100)
    batch = batch.with_(prompt_ids=tuple(prompts))
    states.observe(batch, RewardResult(batch.correct_PG))


def test_an_unchanged_table_is_not_copied(table, monkeypatch):
    copies = []
    snapshot = Palu.snapshot
    monkeypatch.setattr(Palu, "snapshot", lambda self: copies.append(1) or snapshot(self))
    states = states_of(table)
    taken = StepSnapshot({"strategies": states})
    for step in range(5):
        taken.take(step)
    assert len(copies) == 1 and taken.step == 4
    observe(states, "q7")
    taken.take(5)
    taken.take(6)
    assert len(copies) == 2


def test_a_changed_table_shares_the_entries_that_did_not_change(table):
    states = states_of(table)
    before = states.state_dict()["budget"]["prompts"]
    observe(states, "q7")
    after = states.state_dict()["budget"]["prompts"]
    changed = [name for name in after if after[name] is not before.get(name)]
    assert changed == ["q7"] and len(after) == PROMPTS


def test_a_changed_table_goes_back_exactly(table):
    states = states_of(table)
    taken = StepSnapshot({"strategies": states})
    taken.take(1)
    before = table.state_dict()
    observe(states, "q7", "new")
    assert table.state_dict() != before
    taken.restore()
    assert table.state_dict() == before
    assert list(table.state_dict()["prompts"]) == list(before["prompts"])
    observe(states, "q7")
    taken.take(2)
    assert taken.step == 2
    later = table.state_dict()
    observe(states, "q7")
    taken.restore()
    assert table.state_dict() == later


class Careless(Budget):
    """A plug-in that knows nothing of snapshots: it hands out its own list."""

    name = "careless"
    _visits: list[str] = []  # noqa: RUF012  a private attribute of pydantic's, copied for each instance

    def __call__(self, prompt_ids, columns, step, run_info):
        return [PromptBudget() for _ in prompt_ids]

    def observe(self, rollouts, reward):
        self._visits.extend(rollouts.prompt_ids)

    def state_dict(self):
        return {"visits": self._visits}

    def load_state_dict(self, state):
        self._visits = list(state.get("visits", ()))


def test_a_plug_in_that_shares_its_state_goes_back_too():
    budget = Careless()
    states = states_of(budget)
    observe(states, "a")
    taken = StepSnapshot({"strategies": states})
    taken.take(1)
    observe(states, "b")
    assert budget.state_dict() == {"visits": ["a", "b"]}
    taken.restore()
    assert budget.state_dict() == {"visits": ["a"]}


def test_random_streams_go_back_and_batches_are_held_by_reference():
    batch = {"completion_ids": torch.zeros(2, 3)}
    held = {"buffer": (4, [batch])}
    buffer = HeldElsewhere(lambda: held["buffer"], lambda value: held.update(buffer=value))
    taken = StepSnapshot({"random": RandomStreams(), "buffer": buffer})
    taken.take(3)

    def draws():
        return random.random(), np.random.rand(), torch.rand(()).item()

    first = draws()
    held["buffer"] = (5, None)
    taken.restore()
    assert draws() == first
    assert held["buffer"][0] == 4 and held["buffer"][1][0] is batch


def test_the_state_of_a_method_is_the_checkpoint_s():
    method = compose("palu").method
    batch = groups([[10, 20]], [[1, 1]], max_length=100)
    method.observe(batch)
    assert method.snapshot() == method.state_dict() != {}
