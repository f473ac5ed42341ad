"""A small, centred bonus for the shorter of a group's right answers."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo


class Relative(Reward):
    """Right completions are ranked by length in their group: `r = max(0, 1 + weight (w - mean w))`.

    `w = 1 - (L - shortest) / (longest - shortest)` over the group's right lengths. A limit is a gate: the group is
    ranked only if the mean length of its right rows (`over=all`: valid rows) is above `limit`, or above the row field
    that `limit_column` names.

    Source: NeMo-RL, `length_penalty.py`, relative length and profile gate; the weight is ours.

    Degenerate cases: fewer than two right completions, or all of one length: plain 0/1. A gate without a limit for the
    prompt is closed.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Relative()(GROUP), 6)
    [[1.044444, 1.011111, 0.0, 0.944444]]
    >>> show(Relative(limit=2500)(GROUP))
    [[1.0, 1.0, 0.0, 1.0]]
    """

    name = "relative"

    weight: float = Field(default=0.1, ge=0, le=1)
    limit: float | None = Field(default=None, gt=0)  # tokens; None: no gate
    over: Literal["correct", "all"] = "correct"  # whose mean length is held against the limit
    limit_column: str | None = None

    @property
    def reads_columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The prompts' limits, where the data has them."""
        return (self.limit_column,) if self.limit_column else ()

    def __call__(self, rollouts: Rollouts) -> Tensor:
        tokens, right = rollouts.tokens_PG, rollouts.right_PG
        shortest, longest = groups.lowest(tokens, right), groups.highest(tokens, right)
        w = 1 - (tokens - shortest) / (longest - shortest)
        ranked = right & (longest > shortest) & self._open(rollouts)
        paid = (1 + self.weight * (w - groups.mean(w, right))).clamp(min=0.0)
        return torch.where(ranked, paid, rollouts.correct_PG)

    def _open(self, rollouts: Rollouts) -> Tensor:
        """bool (P, G): the gate of the group, or there is none."""
        if self.limit is None and self.limit_column is None:
            return torch.ones_like(rollouts.right_PG)
        limit = torch.full_like(rollouts.tokens_PG, self.limit or float("nan"))
        if self.limit_column is not None:
            own = rollouts.column(self.limit_column)
            limit = torch.where(own.isnan(), limit, own)
        among = rollouts.right_PG if self.over == "correct" else rollouts.known_PG
        return groups.mean(rollouts.tokens_PG, among) > limit

    def warnings(self, run_info: RunInfo) -> list[str]:
        return warnings.cancels(self.name, "weight", "all-correct", run_info)
