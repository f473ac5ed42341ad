"""Every prompt sampled is kept."""

import torch
from torch import Tensor

from lenrl.strategies.base import Sampling


class Uniform(Sampling):
    """Sample exactly the prompts of the step and keep them all.

    >>> Uniform().factor(), Uniform().keep(torch.tensor([True, False]), 2).tolist()
    (1.0, [0, 1])
    """

    name = "uniform"
    selects = False

    def factor(self) -> float:
        return 1.0

    def keep(self, signal_P: Tensor, prompts: int) -> Tensor:
        return torch.arange(min(prompts, signal_P.shape[0]))
