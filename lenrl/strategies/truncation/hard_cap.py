"""The budget as a hard cap."""

import torch
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Truncation


class HardCap(Truncation):
    """Keeps the first `floor(B)` tokens of a row with budget B. No EOS is appended.

    Where the budget was already a cap on generation nothing is left to cut.

    Source: PALU, arXiv 2510.10168; ThinkPrune, arXiv 2504.01296.

    Degenerate cases: rows without a budget are kept whole.

    >>> from lenrl.strategies.examples import GROUP
    >>> HardCap()(GROUP.with_(budget_PG=torch.tensor([[2500.5, 2500.5, 2500.5, float("nan")]]))).tolist()
    [[1000, 2000, 2500, 4000]]
    """

    name = "hard_cap"
    caps = True

    def __call__(self, rollouts: Rollouts) -> Tensor:
        cap = rollouts.budget_PG.nan_to_num(float("inf"))
        return torch.minimum(rollouts.tokens_PG, cap.floor()).to(torch.int64)
