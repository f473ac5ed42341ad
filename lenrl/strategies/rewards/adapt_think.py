"""AdaptThink: not thinking is paid a little, where it does no harm."""

from typing import Literal

from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import Reward
from lenrl.strategies.columns import MODES, choice


class AdaptThink(Reward):
    """`r = c - ref + delta [mode = short]`; ref is the start policy's accuracy on the prompt when it thinks.

    ref is the row field `reference_accuracy` (`reference=column`, the paper's: 16 samples made before training), or 0
    (`none`), since `advantage: dr_grpo` takes it off again. The row field `mode` is `short` or `long`. Parts `correct`
    and `mode`.

    Source: AdaptThink, arXiv 2505.13417.

    Degenerate cases: another mode is refused. Lengths are not read, modes are.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> columns = {"mode": (("short", "long", "short", "long"),), "reference_accuracy": ((0.625,) * 4,)}
    >>> show(AdaptThink()(GROUP.with_(columns=columns)).total_PG)
    [[0.425, 0.375, -0.575, 0.375]]
    """

    name = "adapt_think"

    delta: float = Field(default=0.05, ge=0, le=1)  # pay of the short mode
    reference: Literal["column", "none"] = "column"

    @property
    def reads_columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The mode, and the accuracy of the start policy where it is taken off."""
        return ("mode", "reference_accuracy") if self.reference == "column" else ("mode",)

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        correct = rollouts.correct_PG.clone()
        if self.reference == "column":
            correct -= rollouts.column("reference_accuracy")
        mode = self.delta * (choice(rollouts, "mode", MODES) == 0).double()
        return RewardResult.of_parts(correct=correct, mode=mode)
