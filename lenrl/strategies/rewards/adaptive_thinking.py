"""Long thinking where it is needed, short where it is not."""

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Reward
from lenrl.strategies.columns import MODES, choice

PREFERRED, OTHER = 1.5, 1.0


class AdaptiveThinking(Reward):
    """Pays the mode that suits the group: short in easy groups, long in hard ones.

    A group is easy if its accuracy is at least `easy`. Correct in the mode that suits it 1.5, correct in
    the other 1, wrong 0; the row's `mode` is `short` or `long`.

    Source: adaptive thinking, arXiv 2505.20101; the threshold is ours.

    Degenerate cases: accuracy is over valid rows; another mode is refused. Lengths are not read, modes are.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(AdaptiveThinking()(GROUP.with_(columns={"mode": (("short", "long", "short", "long"),)})))
    [[1.5, 1.0, 0.0, 1.0]]
    """

    name = "adaptive_thinking"
    reads_columns = ("mode",)

    easy: float = Field(default=0.5, ge=0, le=1)  # accuracy

    def __call__(self, rollouts: Rollouts) -> Tensor:
        short = choice(rollouts, "mode", MODES) == 0
        accuracy = groups.mean(rollouts.right_PG.double(), rollouts.known_PG)
        suits = short == (accuracy >= self.easy - 1e-9)
        return rollouts.correct_PG * torch.where(suits, PREFERRED, OTHER).double()
