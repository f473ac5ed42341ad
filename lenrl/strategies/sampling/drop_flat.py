"""Groups without signal are dropped."""

from torch import Tensor

from lenrl.strategies.base import Sampling


class DropFlat(Sampling):
    """Sample the prompts of the step, keep only the groups whose rewards differ.

    Source: dynamic sampling without a refill, DAPO, arXiv 2503.14476, section 3.2; DLER, arXiv 2510.15110.

    Degenerate cases: no group with signal: an empty answer, and the step leaves the weights as they are.

    >>> import torch
    >>> DropFlat().keep(torch.tensor([False, True, False, True]), 4).tolist()
    [1, 3]
    """

    name = "drop_flat"

    def factor(self) -> float:
        return 1.0

    def keep(self, signal_P: Tensor, prompts: int) -> Tensor:
        return signal_P.nonzero().squeeze(1)[:prompts]
