"""TLDR: a price a token that depends on the length asked for."""

from typing import Annotated

import torch
from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import warnings
from lenrl.strategies.base import Reward, RunInfo
from lenrl.strategies.columns import LEVELS, choice

Price = Annotated[float, Field(ge=0)]


class Tldr(Reward):
    """Correctness minus length at the price of the row's `level`: `r = c - lam[level] L / L_max`.

    `lam` lists the prices of short, moderate and long; parts `correct` and `length`.

    Source: TLDR, arXiv 2505.07961; the constants are ours, the paper's were not available.

    Degenerate cases: another level is refused.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Tldr()(GROUP.with_(columns={"level": (("short", "moderate", "short", "long"),)})).total_PG)
    [[0.8779, 0.8779, -0.3662, 1.0]]
    """

    name = "tldr"
    reads_columns = ("level",)

    lam: tuple[Price, Price, Price] = (0.5, 0.25, 0.0)  # at L_max, of short, moderate, long

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        prices = torch.tensor(self.lam, dtype=torch.float64)[choice(rollouts, "level", LEVELS)]
        length = -prices * rollouts.tokens_PG / rollouts.max_length
        return RewardResult.of_parts(correct=rollouts.correct_PG, length=length)

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.cancels(self.name, "lam", "all-correct and all-wrong", run_info)
