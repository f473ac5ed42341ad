"""Correctness, length against a budget, and format."""

from typing import Literal

import torch
from pydantic import Field

from lenrl.errors import BadInput
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import Reward, RunInfo


class Budgeted(Reward):
    """Pays tokens up to a budget, then takes the pay back.

    `r = w_correct c + w_length len(L; B) + w_format (0.5 [think tags] + 0.5 [answer tags])`; parts
    `correct`, `length`, `format`. `shape=triangular`: `len = L/B` up to B, `2 - L/B` up to 2B, then 0.
    `shape=band`: 1 up to B, the same fall, then 0.

    Source: "Train Long, Think Short", arXiv 2508.08940.

    Degenerate cases: a truncated completion gets no length term, or at a cap near B it would collect all of
    it. The paper pays the length of wrong answers too; `gated` pays it only to correct ones. Declares
    `monotone_length` with `shape=triangular`: it pays more tokens more, up to the budget.

    >>> from lenrl.strategies.examples import groups, show
    >>> batch = groups([[128, 256, 384, 600]], [[1, 1, 0, 0]])
    >>> show(Budgeted()(batch.with_(budget_PG=torch.full((1, 4), 256.0))).total_PG)
    [[0.85, 1.0, 0.25, 0.1]]
    """

    name = "budgeted"
    reads_budget = True
    reads_format = True

    w_correct: float = Field(default=0.6, ge=0)
    w_length: float = Field(default=0.3, ge=0)
    w_format: float = Field(default=0.1, ge=0)
    shape: Literal["triangular", "band"] = "triangular"
    gated: bool = False

    @property
    def declares(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The rise of the triangle."""
        return ("monotone_length",) if self.shape == "triangular" else ()

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        if rollouts.budget_PG.isnan().any():
            raise BadInput(
                "reward 'budgeted' compares lengths with a budget, and rows have none; choose a budget"
            )
        used = rollouts.tokens_PG / rollouts.budget_PG  # L / B
        rise = used if self.shape == "triangular" else torch.ones_like(used)
        length = torch.where(used <= 1, rise, (2 - used).clamp(min=0.0))
        length = length.masked_fill(rollouts.truncated_PG, 0.0)
        if self.gated:
            length = length.masked_fill(~rollouts.right_PG, 0.0)
        form = 0.5 * rollouts.think_tags_PG.double() + 0.5 * rollouts.answer_tags_PG.double()
        return RewardResult.of_parts(
            correct=self.w_correct * rollouts.correct_PG,
            length=self.w_length * length,
            format=self.w_format * form,
        )

    def warnings(self, run_info: RunInfo) -> list[str]:
        messages = []
        if self.w_length > self.w_correct and not self.gated:
            messages.append(
                f"reward.w_length={self.w_length:g} is above w_correct={self.w_correct:g}: a wrong answer on "
                "budget beats a short correct one; lower w_length or set reward.gated=true"
            )
        if self.shape == "band":
            messages.append(
                "reward.shape=band pays an empty completion the full length term; triangular does not"
            )
        if run_info.scaled_by_group_std:
            messages.append(
                "reward 'budgeted': in groups that tie on correctness and format the weights cancel under "
                "group-std scaling, w_length then has no leverage; advantage=dr_grpo keeps it"
            )
        return messages
