"""TLDR: a price a token that depends on the length asked for."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from lenrl.rollouts import Reward, Rollouts
from lenrl.strategies import notes
from lenrl.strategies.base import RewardRule, Setting
from lenrl.strategies.fields import LEVELS, choice

Price = Annotated[float, Field(ge=0)]


class Tldr(RewardRule):
    """Correctness minus length at the price of the row's `level`: `r = c - lam[level] L / L_max`.

    `lam` lists the prices of short, moderate and long; parts `correct` and `length`.

    Source: TLDR, arXiv 2505.07961; the constants are ours, the paper's were not available.

    Degenerate cases: another level is refused.

    >>> from lenrl.strategies.worked import GROUP, show
    >>> show(Tldr()(GROUP.with_(columns={"level": (("short", "moderate", "short", "long"),)})).total_PG)
    [[0.8779, 0.8779, -0.3662, 1.0]]
    """

    name: ClassVar[str] = "tldr"
    reads_columns: ClassVar[tuple[str, ...]] = ("level",)

    lam: tuple[Price, Price, Price] = (0.5, 0.25, 0.0)  # at L_max, of short, moderate, long

    def __call__(self, rollouts: Rollouts) -> Reward:
        prices = torch.tensor(self.lam, dtype=torch.float64)[choice(rollouts, "level", LEVELS)]
        length = -prices * rollouts.tokens_PG / rollouts.max_length
        return Reward(rollouts.correct_PG + length, {"correct": rollouts.correct_PG, "length": length})

    def warnings(self, setting: Setting) -> list[str]:
        return notes.cancels(self.name, "lam", "all-correct and all-wrong", setting)
