"""O1-Pruner: shorter than the reference, and no worse."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo


class O1Pruner(Reward):
    """`r = clip((L_ref - L) / max(L, 1) + alpha (c - c_ref), -low, high)`, parts `length` and `correct`, unclipped.

    L_ref and c_ref are the reference policy's mean length and accuracy on the prompt: of the group itself
    (`reference=group`), or the row fields `reference_length` and `reference_accuracy` (`column`, the paper's: samples
    of the start policy, made once).

    Source: O1-Pruner, arXiv 2501.12570; the group as its own reference is ours.

    Degenerate cases: the clip bounds what shortness pays, since 1/L has no bound: at `high=4` a tenth of L_ref is worth
    a fifth.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(O1Pruner()(GROUP).total_PG)
    [[2.75, 1.5, -2.0, 0.875]]
    """

    name = "o1_pruner"

    reference: Literal["group", "column"] = "group"
    alpha: float = Field(default=5.0, ge=0)
    low: float = Field(default=2.0, ge=0)
    high: float = Field(default=4.0, ge=0)

    @property
    def reads_columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The start policy's figures on the prompt, where the data has them."""
        return ("reference_length", "reference_accuracy") if self.reference == "column" else ()

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        length_ref, correct_ref = self._reference(rollouts)
        tokens = rollouts.tokens_PG
        length = (length_ref - tokens) / tokens.clamp(min=1.0)
        correct = self.alpha * (rollouts.correct_PG - correct_ref)
        total = (length + correct).clamp(-self.low, self.high)
        return RewardResult(total, {"length": length, "correct": correct})

    def _reference(self, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
        """Mean length and accuracy to be held against."""
        if self.reference == "column":
            return rollouts.column("reference_length"), rollouts.column("reference_accuracy")
        known = rollouts.known_PG
        return groups.mean(rollouts.tokens_PG, known), groups.mean(rollouts.right_PG.double(), known)

    def warnings(self, run_info: RunInfo) -> list[str]:
        return [warnings.ungated(self.name)]
