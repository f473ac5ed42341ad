"""HAPO: right answers are held against the prompt's shortest right one so far."""

import math

import torch
from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import RunInfo
from lenrl.strategies.prompt_memory import PromptMemory


class Hapo(PromptMemory):
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
    remembered = "shortest"

    weight: float = Field(default=1.0, ge=0, le=1)
    floor: float = Field(default=0.7, ge=0, le=1)  # most that a right answer loses, before the weight

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        h = self.recalled(rollouts)
        f = torch.cos((math.pi / 2 * rollouts.tokens_PG / h.clamp(min=1.0)).clamp(max=math.pi))
        length = self.weight * torch.where(rollouts.right_PG, f.clamp(min=-self.floor), f.clamp(max=0.0))
        length = torch.where(h.isnan(), 0.0, length)
        return RewardResult.of_parts(correct=rollouts.correct_PG, length=length)

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        shortest = groups.lowest(rollouts.tokens_PG, rollouts.right_PG).squeeze(1).tolist()
        for prompt, tokens in zip(rollouts.prompt_ids, shortest, strict=True):
            if tokens < self._tokens.get(prompt, math.inf):
                self._tokens[prompt] = int(tokens)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        h = self.recalled(rollouts)
        guessed = h < groups.mean(rollouts.tokens_PG, rollouts.known_PG) / 4
        return {"hapo_guess_share": groups.average(guessed, ~h.isnan())}

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.inert("reward 'hapo'", "a record", run_info)
