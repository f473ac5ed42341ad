"""GFPO: learn from the few completions that rank best."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.advantages.grpo import normalise
from lenrl.strategies.base import Advantage, RunInfo


class Gfpo(Advantage):
    """Keeps the `keep` best-ranked completions of a group, normalises over them, and ignores the others.

    `rank=length`: the shortest; `rank=efficiency`: the highest `r / L`. `A = (r - mean) / (sd + 1e-4)` over
    the kept.

    Source: GFPO, arXiv 2508.09726.

    Degenerate cases: ties go by batch order; rows that are not valid are never kept; a length of 0 counts
    as 1 in `r / L`. Declares `permute_completions`: which of two equally long completions is kept depends
    on their order.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Gfpo(keep=3)(RewardResult(GROUP.correct_PG), GROUP))
    [[0.5773, 0.5773, -1.1545, 0.0]]
    """

    name = "gfpo"
    scales_by_group_std = True
    declares = ("permute_completions",)

    keep: int = Field(default=4, ge=2)  # completions a group
    rank: Literal["length", "efficiency"] = "length"

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        return normalise(torch.where(self._kept(reward, rollouts), reward.total_PG, float("nan")))

    def _kept(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        """bool (P, G): the completions learned from; a NaN reward among them is left out by `normalise`."""
        r, tokens = reward.total_PG, rollouts.tokens_PG
        score = tokens if self.rank == "length" else -r / tokens.clamp(min=1.0)
        return groups.ranks(score, ~r.isnan()) < self.keep

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        kept = self._kept(reward, rollouts) & rollouts.known_PG
        return {"gfpo_kept_correct_share": groups.average(rollouts.correct_PG, kept)}

    def warnings(self, run_info: RunInfo) -> list[str]:
        if run_info.num_generations is None or self.keep < run_info.num_generations:
            return []
        return [
            f"advantage.keep={self.keep} keeps every one of {run_info.num_generations} completions: gfpo is "
            "grpo then; raise num_generations or lower advantage.keep"
        ]
