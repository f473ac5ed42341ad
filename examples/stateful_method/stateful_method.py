"""A reward with a state: each prompt has a target length, the running mean of its correct completions' lengths.

A correct completion at the target gets 1, a longer one less, a shorter one more, by at most `alpha`; a wrong one 0.
What was once solved in few tokens is asked for in few. The state is part of each checkpoint, so that a run that was
killed goes on with its targets.

    lenrl check stateful_method.yaml --plugin stateful_method.py
    lenrl train stateful_method.yaml --plugin stateful_method.py
"""

import math
from typing import Any

import torch
from pydantic import Field, PrivateAttr

from lenrl.strategies import groups
from lenrl.strategies.base import Reward


class RunningTarget(Reward):
    """`r = c (1 - alpha clip(L / target - 1, -1, 1))`; a prompt that nobody has solved yet has no target: `r = c`.

    >>> from lenrl.rollouts import RewardResult
    >>> from lenrl.strategies.examples import groups, show
    >>> rule, batch = RunningTarget(), groups([[100, 300, 200]], [[1, 1, 0]])
    >>> show(rule(batch))
    [[1.0, 1.0, 0.0]]
    >>> rule.observe(batch, RewardResult(batch.correct_PG))
    >>> rule.state_dict(), show(rule(batch))
    ({'targets': {'q0': 200.0}}, [[1.1, 0.9, 0.0]])
    """

    name = "running_target"

    alpha: float = Field(default=0.2, ge=0, le=1)  # of the reward of a correct completion
    memory: float = Field(default=0.9, ge=0, lt=1)  # share of the old target in the new one

    _targets: dict[str, float] = PrivateAttr(default_factory=dict)  # tokens, by prompt id

    def __call__(self, rollouts):
        known = [self._targets.get(name, float("nan")) for name in rollouts.prompt_ids]
        excess_PG = rollouts.tokens_PG / torch.tensor(known, dtype=torch.float64)[:, None] - 1
        return rollouts.correct_PG * (1 - self.alpha * excess_PG.clamp(-1, 1).nan_to_num(0.0))

    def observe(self, rollouts, reward):
        lengths = groups.mean(rollouts.tokens_PG, rollouts.right_PG).squeeze(1).tolist()
        for name, length in zip(rollouts.prompt_ids, lengths, strict=True):
            if not math.isnan(length):  # somebody solved it
                old = self._targets.get(name, length)
                self._targets[name] = self.memory * old + (1 - self.memory) * length

    def metrics(self, rollouts, reward) -> dict[str, float | None]:
        targets = self._targets.values()
        return {"target_mean": sum(targets) / len(targets) if targets else None}

    def state_dict(self) -> dict[str, Any]:
        return {"targets": dict(self._targets)}

    def load_state_dict(self, state):
        self._targets = dict(state.get("targets", {}))
