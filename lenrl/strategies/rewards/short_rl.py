"""Short-RL: a length reward that waits for accuracy, and forgives what is nearly the shortest."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, PrivateAttr

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Reward, RunInfo
from lenrl.strategies.states import number

FEW = 256  # completions a rollout; ours


class ShortRl(Reward):
    """Right `+correct`, wrong `-wrong`, unreadable `-unreadable`; right ones are ranked by length in good batches.

    `length`, of right completions: 0.5 if `L <= shortest + slack`, else `0.5 - (L - shortest) / (longest - shortest +
    1e-5)` over the group's right lengths. It is paid only where the batch's accuracy is at least the best so far, this
    batch's included, minus `drop`. Parts `correct` and `length`.

    Source: Short-RL, arXiv 2505.12284; the pays are the totals of its code (answer 2, -1.5 or -2, format 1 or -1).

    Degenerate cases: a lone right completion, and equal lengths: +0.5. One lucky small batch shuts the gate. State: the
    best accuracy.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(ShortRl()(GROUP).total_PG)
    [[3.5, 3.1667, -0.5, 2.5]]
    >>> rule = ShortRl(); rule.load_state_dict({"best": 0.9})
    >>> show(rule(GROUP).total_PG)
    [[3.0, 3.0, -0.5, 3.0]]
    """

    name = "short_rl"
    reads_format = True

    correct: float = Field(default=3.0, ge=0)
    wrong: float = Field(default=0.5, ge=0)
    unreadable: float = Field(default=3.0, ge=0)
    slack: float = Field(default=100, ge=0)  # tokens over the shortest that are free
    drop: float = Field(default=0.05, ge=0, le=1)  # of the accuracy below the best, that is allowed

    _best: float = PrivateAttr(default=0.0)

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        tokens, right = rollouts.tokens_PG, rollouts.right_PG
        wrong = torch.where(rollouts.formatted_PG, -self.wrong, -self.unreadable).double()
        correct = torch.where(right, self.correct, wrong).masked_fill(~rollouts.known_PG, float("nan"))
        shortest, longest = groups.lowest(tokens, right), groups.highest(tokens, right)
        ranked = 0.5 - (tokens - shortest) / (longest - shortest + 1e-5)
        length = torch.where(tokens <= shortest + self.slack, 0.5, ranked)
        length = torch.where(right, length, 0.0) * float(self._open(rollouts))
        return RewardResult.of_parts(correct=correct, length=length)

    def _open(self, rollouts: Rollouts) -> bool:
        accuracy = groups.average(rollouts.right_PG, rollouts.known_PG)
        return accuracy is not None and accuracy >= max(self._best, accuracy) - self.drop

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        self._best = max(self._best, groups.average(rollouts.right_PG, rollouts.known_PG) or 0.0)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        return {"short_rl_open": float(self._open(rollouts)), "short_rl_best": self._best}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._best = number(state.get("best", 0.0), "the best accuracy", most=1)

    def warnings(self, run_info: RunInfo) -> list[str]:
        if (run_info.rollout_rows or FEW) >= FEW:
            return []
        return [
            f"reward 'short_rl': {run_info.rollout_rows} completions a rollout are few: one lucky batch sets the best "
            f"accuracy and shuts the gate on length for the rest of the run; sample {FEW} or more, or raise reward.drop"
        ]
