"""ACOER: a controller raises the pay of brevity while accuracy holds; its budget follows the right lengths."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo
from lenrl.strategies.states import number


class Acoer(Reward):
    """Right answers earn `1 + alpha f(1 - min(L / B, 1))`, wrong ones 0; alpha and the budget B follow the run.

    `f(x) = log(1 + 5x) / log 6`, or x (`shape=linear`). After the batch accuracy and mean right length enter
    exponential means (weight `2 / (span + 1)`), the accuracy a window. From `warmup` steps on, once the window is
    full: if the accuracy is more than `drop` below the window's first, `alpha <- max(alpha_min, down alpha)`, else
    `alpha <- min(alpha_max, up alpha)`; in either case `B <- max(low, ratio length)`.

    Source: ACOER, arXiv 2606.22716. Its code averages a length of 0 in where a batch has no right answer, and
    estimates tokens from characters; this does neither.

    Degenerate cases: a batch without a right answer leaves the mean length as it is. State: alpha, budget, means,
    window.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Acoer()(GROUP), 6)
    [[1.017461, 1.014169, 0.0, 1.001237]]
    >>> show(Acoer(alpha=0.5, start=2000, shape="linear")(GROUP))
    [[1.25, 1.0, 0.0, 1.0]]
    """

    name = "acoer"

    alpha: float = Field(default=0.02, ge=0)  # pay of brevity, at first
    alpha_min: float = Field(default=0.01, ge=0)
    alpha_max: float = Field(default=0.5, ge=0)
    up: float = Field(default=1.02, ge=1)
    down: float = Field(default=0.95, ge=0, le=1)
    span: int = Field(default=50, ge=1)  # batches, of the exponential means
    window: int = Field(default=100, ge=1)  # batches
    drop: float = Field(default=0.02, ge=0, le=1)  # of the accuracy, that is too much
    ratio: float = Field(default=0.85, gt=0, le=1)  # budget over mean right length
    low: float = Field(default=512, gt=0)  # tokens, smallest budget
    start: float = Field(default=4096, gt=0)  # tokens, first budget
    warmup: int = Field(default=200, ge=0)  # optimizer steps
    shape: Literal["log", "linear"] = "log"

    _state: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        spare = 1 - (rollouts.tokens_PG / self._now["budget"]).clamp(max=1.0)
        worth = torch.log1p(5 * spare) / math.log(6) if self.shape == "log" else spare
        return rollouts.correct_PG * (1 + self._now["alpha"] * worth)

    @property
    def _now(self) -> dict[str, Any]:
        first = {"alpha": self.alpha, "budget": self.start, "accuracy": None, "length": None, "history": []}
        return first | self._state

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        accuracy = groups.average(rollouts.right_PG, rollouts.known_PG)
        if accuracy is None:
            return
        now = self._now
        now["accuracy"] = self._mean(now["accuracy"], accuracy)
        now["length"] = self._mean(now["length"], groups.average(rollouts.tokens_PG, rollouts.right_PG))
        now["history"] = [*now["history"], now["accuracy"]][-self.window :]
        if rollouts.step >= self.warmup and len(now["history"]) == self.window:
            if now["history"][0] - now["accuracy"] > self.drop:
                now["alpha"] = max(self.alpha_min, self.down * now["alpha"])
            else:
                now["alpha"] = min(self.alpha_max, self.up * now["alpha"])
            if now["length"] is not None:
                now["budget"] = max(self.low, self.ratio * now["length"])
        self._state = now

    def _mean(self, before: float | None, value: float | None) -> float | None:
        if value is None or before is None:
            return before if value is None else value
        return before + 2 / (self.span + 1) * (value - before)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        return {"acoer_alpha": self._now["alpha"], "acoer_budget": self._now["budget"]}

    def state_dict(self) -> dict[str, Any]:
        return {**self._now, "history": list(self._now["history"])}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state) - set(self._now):
            raise ValueError(f"fields {sorted(state)}, expected {sorted(self._now)}")
        for name in set(state) - {"history"}:
            if state[name] is not None or name in ("alpha", "budget"):
                number(state[name], name)
        history = [number(value, "an accuracy of the history", most=1) for value in state.get("history", ())]
        self._state = {**state, "history": history}

    def warnings(self, run_info: RunInfo) -> list[str]:
        messages = warnings.cancels(self.name, "alpha", "all-correct", run_info)
        rollouts = (run_info.max_steps or math.inf) / run_info.updates_per_rollout
        if run_info.training and (rollouts <= self.window or (run_info.max_steps or math.inf) <= self.warmup):
            messages.append(
                f"reward 'acoer': nothing adapts before {self.warmup} steps and {self.window} rollouts, and the run "
                "ends by then; lower reward.warmup and reward.window"
            )
        return messages
