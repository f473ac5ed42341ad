"""DOT: dynamic outlier truncation."""

import math

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Forbidden, RunInfo, Truncation


class Dot(Truncation):
    """Cuts completions that are far longer than their group, where the group has nothing left to learn.

    In groups whose share of correct is at least `success_threshold`: `T = floor(mean L + alpha sd L)`;
    completions with `L - T >= margin` keep their first T tokens, no EOS appended. `margin_fraction` (if
    set) makes the margin `max(floor(L margin_fraction), 16)`. What was cut is verified again, by the
    caller.

    Source: DOT, arXiv 2601.03969.

    Degenerate cases: shares, means and deviations run over the valid rows, and only those are cut. Among G
    rows no length is more than `(G - 1) / sqrt(G)` deviations above the mean: an alpha from there on is
    refused.

    >>> from lenrl.strategies.examples import groups
    >>> batch = groups([[1000] * 31 + [4000]], [[1] * 32])
    >>> Dot()(batch)[0, -2:].tolist()
    [1000, 2684]
    """

    name = "dot"
    reads_verdicts = True
    forbids = (
        Forbidden("mask_truncated_completions", True, "it would drop from the loss exactly what DOT cuts"),
    )

    alpha: float = Field(default=3.0, ge=0)  # sample standard deviations
    margin: int = Field(default=32, ge=0)  # tokens
    margin_fraction: float | None = Field(default=None, gt=0, le=1)  # of the completion's length
    success_threshold: float = Field(default=1.0, ge=0, le=1)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        tokens, known = rollouts.tokens_PG, rollouts.known_PG
        eligible = known & self._solved(rollouts.correct_PG)
        cutoff = (groups.mean(tokens, known) + self.alpha * groups.sd(tokens, known)).floor()
        margin = torch.full_like(tokens, self.margin)
        if self.margin_fraction is not None:
            margin = (tokens * self.margin_fraction).floor().clamp(min=16.0)
        cut = eligible & (tokens - cutoff >= margin) & (cutoff < tokens)
        return torch.where(cut, cutoff, tokens).to(torch.int64)

    def _solved(self, correct_PG: Tensor) -> Tensor:
        """bool (P, 1): the groups with nothing left to learn; not those without any valid row."""
        success = groups.mean((correct_PG > 0.5).double(), ~correct_PG.isnan())
        return success >= self.success_threshold - 1e-9

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        solved = self._solved(rollouts.sampled_correct_PG)
        return super().metrics(rollouts, reward) | {"dot_eligible_share": solved.double().mean().item()}

    def errors(self, run_info: RunInfo) -> list[str]:
        size = run_info.num_generations
        if size is None or self.alpha < (size - 1) / math.sqrt(size):
            return []
        needed = next((g for g in range(size, 100_000) if self.alpha < (g - 1) / math.sqrt(g)), None)
        return [
            f"truncation.alpha={self.alpha:g} can never fire with G={size}: the largest possible outlier "
            f"is (G-1)/sqrt(G) = {(size - 1) / math.sqrt(size):.4f} deviations above the mean; lower it"
            + (f" or set num_generations to at least {needed}" if needed else "")
        ]
