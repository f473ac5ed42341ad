"""Small parts of a run's state: strategies, seconds, evaluations, random streams, TRL's buffer.

A part has `state_dict`, a value that it does not edit afterwards, and `load_state_dict`.
"""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lenrl.measures import aes
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import Objective, StepTotals
from lenrl.strategies.faults import calling
from lenrl.strategies.method import Method


class Part(Protocol):
    """Whatever has a state. With a `version` it is taken for unchanged while that stays the same."""

    def state_dict(self) -> object:
        """The state, as a value that the part does not edit afterwards."""

    def load_state_dict(self, state: Any) -> None:
        """Put back what `state_dict` gave."""


@dataclass
class StrategyStates:
    """The states of a method's strategies, which change in `observe` and, the objective's, in `updated` only."""

    method: Method
    version: int = 0

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        """Let every strategy update its state from a finished generation batch."""
        self.version += 1
        self.method.observe(rollouts, reward)

    def updated(self, totals: StepTotals | None) -> None:
        """Let an objective that does so update its state from an optimizer step; None: it has computed nothing."""
        objective = self.method.objective
        if totals is None or type(objective).updated is Objective.updated:
            return
        self.version += 1
        with calling(objective):
            objective.updated(totals)

    def state_dict(self) -> dict[str, Any]:
        """By slot; slots without state are left out."""
        return self.method.snapshot()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Slots that are missing begin anew.

        Raises:
            BadInput: a strategy refuses its state.
        """
        self.version += 1
        self.method.load_state_dict(state)


class Clock:
    """Seconds of training over all legs of a run; a leg lasts from a start of the command to its end."""

    def __init__(self) -> None:
        self.before = 0.0  # seconds of earlier legs, up to the checkpoint
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of all legs, without what a killed leg did past its last checkpoint."""
        return self.before + time.monotonic() - self.began

    def state_dict(self) -> dict[str, float]:
        return {"seconds": round(self.seconds, 3)}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.before, self.began = state["seconds"], time.monotonic()


@dataclass
class DevState:
    """State of the evaluations on development problems and on other data."""

    due: bool = False  # a signal broke off the last step's evaluation: the next leg begins with it
    # Accuracies and tokens of a run's first evaluation, by name; an accuracy without gold answers is None.
    baseline: dict[str, float | None] | None = None

    def aes(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """AES of each evaluation in `metrics`, NaN: not defined; against the run's first one, which they become if new.

        >>> state = DevState()
        >>> state.aes({"accuracy": 0.5, "tokens": 10.0}), state.aes({"accuracy": 0.5, "tokens": 5.0})
        ({'aes': 0.0}, {'aes': 0.5})
        """
        self.baseline = {} if self.baseline is None else self.baseline
        scores = {}
        for prefix in [name.removesuffix("accuracy") for name in metrics if name.endswith("accuracy")]:
            accuracy, tokens = metrics[f"{prefix}accuracy"], metrics[f"{prefix}tokens"]
            if f"{prefix}tokens" not in self.baseline:  # NaN is no JSON
                own = {
                    f"{prefix}accuracy": None if math.isnan(accuracy) else accuracy,
                    f"{prefix}tokens": tokens,
                }
                self.baseline = self.baseline | own
            base_accuracy, base_tokens = (self.baseline[f"{prefix}{name}"] for name in ("accuracy", "tokens"))
            assert base_tokens is not None
            score = aes(base_accuracy, accuracy, base_tokens, tokens)
            scores[f"{prefix}aes"] = math.nan if score is None else score
        return scores

    def state_dict(self) -> dict[str, bool]:
        return {"due": self.due}

    def load_state_dict(self, state: Mapping[str, bool]) -> None:
        self.due = state["due"]


class RandomStreams:
    """Every random stream of this process."""

    def state_dict(self) -> tuple[tuple, dict | tuple, Tensor, list[Tensor] | None]:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
        return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda

    def load_state_dict(self, state: tuple[tuple, dict | tuple, Tensor, list[Tensor] | None]) -> None:
        python, numpy, cpu, cuda = state
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


class HeldElsewhere:
    """State that another object holds, by reference: batches are replaced, never edited."""

    def __init__(self, read: Callable[[], object], write: Callable[[Any], None]) -> None:
        self.state_dict, self.load_state_dict = read, write
