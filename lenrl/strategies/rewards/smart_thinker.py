"""SmartThinker: the target is where a group's right answers are likeliest."""

import torch
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Reward


class SmartThinker(Reward):
    """Right answers pay for tokens above a target of their group, so much that the worst is worth the group's mean.

    In groups with right and wrong answers, m and v the mean and variance (n) of the valid lengths, mc and vc of the
    right ones: target `(vc m - v mc) / (vc - v)`, within the group's lengths, where `vc < v`: the likeliest length of
    right answers among all, both taken as normal. `e = max(0, L - target)` for right answers, 0 for wrong ones, `alpha
    = (1 - p) / (max e - mean e + 1e-6)`, and `r = 1 - alpha e` if right, else 0.

    Source: SmartThinker, arXiv 2603.08000.

    Degenerate cases: all right: 1, all wrong: 0; `vc > v`: the target is the group's shortest; equal variances: its
    longest if `mc > m`, else its shortest.

    >>> from lenrl.strategies.examples import GROUP, groups, show
    >>> show(SmartThinker()(GROUP))
    [[1.0, 0.875, 0.0, 0.625]]
    >>> show(SmartThinker()(groups([[500, 900, 2000, 2400, 2600, 3000]], [[0, 0, 1, 1, 1, 0]])), 6)
    [[0.0, 0.0, 1.0, 0.917058, 0.383412, 0.0]]
    """

    name = "smart_thinker"

    def __call__(self, rollouts: Rollouts) -> Tensor:
        tokens, right, known = rollouts.tokens_PG, rollouts.right_PG, rollouts.known_PG
        p = groups.mean(right.double(), known)
        over = torch.where(right, (tokens - target(tokens, right, known)).clamp(min=0.0), 0.0)
        alpha = (1 - p) / (groups.highest(over, right) - groups.mean(over, known) + 1e-6)
        mixed = right.any(dim=1, keepdim=True) & (p < 1)
        return rollouts.correct_PG * torch.where(mixed, 1 - alpha * over, 1.0)


def target(tokens: Tensor, right: Tensor, known: Tensor) -> Tensor:
    """(P, 1): the length from which right answers pay, tokens."""
    m, v = groups.mean(tokens, known), groups.psd(tokens, known).square()
    mc, vc = groups.mean(tokens, right), groups.psd(tokens, right).square()
    shortest, longest = groups.lowest(tokens, known), groups.highest(tokens, known)
    crossing = torch.minimum(torch.maximum((vc * m - v * mc) / (vc - v), shortest), longest)
    equal = torch.where(mc > m, longest, shortest)
    return torch.where((vc - v).abs() < 1e-6, equal, torch.where(vc > v, shortest, crossing))
