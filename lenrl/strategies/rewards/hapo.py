"""HAPO: right answers are held against the prompt's shortest right one so far."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo


class Hapo(Reward):
    """Shorter than the prompt's record earns, longer costs: `r = c + length`, h the shortest right one of all visits.

    `f = cos(min(pi/2 L / h, pi))`, `length = weight max(f, -floor)` if right, `weight min(f, 0)` if wrong: 0 at h,
    and failing short earns nothing. Parts `correct` and `length`.

    Source: HAPO, arXiv 2505.11225.

    Degenerate cases: a prompt without history: `r = c`. h only falls: one lucky guess fixes it. State: h of prompts.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> rule = Hapo(); rule.load_state_dict({"shortest": {"q0": 1500}})
    >>> show(rule(GROUP).total_PG)
    [[1.5, 0.5, -1.0, 0.3]]
    >>> rule.observe(GROUP, RewardResult(GROUP.correct_PG)); rule.state_dict()
    {'shortest': {'q0': 1000}}
    """

    name = "hapo"

    weight: float = Field(default=1.0, ge=0, le=1)
    floor: float = Field(default=0.7, ge=0, le=1)  # most that a right answer loses, before the weight

    _shortest: dict[str, int] = PrivateAttr(default_factory=dict)

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        h = self._record(rollouts)
        f = torch.cos((math.pi / 2 * rollouts.tokens_PG / h.clamp(min=1.0)).clamp(max=math.pi))
        length = self.weight * torch.where(rollouts.right_PG, f.clamp(min=-self.floor), f.clamp(max=0.0))
        length = torch.where(h.isnan(), 0.0, length)
        return RewardResult(rollouts.correct_PG + length, {"correct": rollouts.correct_PG, "length": length})

    def _record(self, rollouts: Rollouts) -> Tensor:
        """(P, 1): the prompt's shortest right completion so far, tokens; NaN without one."""
        known = [self._shortest.get(prompt, math.nan) for prompt in rollouts.prompt_ids]
        return torch.tensor(known, dtype=torch.float64).reshape(-1, 1)

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        shortest = groups.lowest(rollouts.tokens_PG, rollouts.right_PG).squeeze(1).tolist()
        for prompt, tokens in zip(rollouts.prompt_ids, shortest, strict=True):
            if tokens < self._shortest.get(prompt, math.inf):
                self._shortest[prompt] = int(tokens)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        h = self._record(rollouts)
        guessed = h < groups.mean(rollouts.tokens_PG, rollouts.known_PG) / 4
        return {"hapo_guess_share": groups.average(guessed, ~h.isnan())}

    def state_dict(self) -> dict[str, Any]:
        return {"shortest": dict(self._shortest)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._shortest = {prompt: int(tokens) for prompt, tokens in state.get("shortest", {}).items()}

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.inert("reward 'hapo'", "a record", run_info)
