"""A length inside the range that the prompt asks for."""

import torch

from lenrl.errors import BadInput
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import Reward
from lenrl.strategies.columns import tokens


class Range(Reward):
    """Pays lengths in the prompt's range [lo, hi], less the further outside.

    Part `range`: 1 inside, `L / lo` below, `(L_max - L) / (L_max - hi)` above, never under 0. Part
    `correct`: the verdict, where verdicts exist. `r` is the mean of the parts; `advantage: decoupled`
    normalises each by itself.

    Source: LongWriter-Zero, arXiv 2506.18841.

    Degenerate cases: with `hi` at L_max nothing is above it but rows longer than L_max, which get 0; a row
    with an unknown verdict is paid by its range alone; `hi < lo` is refused. Declares `monotone_length`:
    below `lo` more tokens pay more.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> reward = Range()(GROUP.with_(columns={"lo": ((1500,) * 4,), "hi": ((2500,) * 4,)}))
    >>> show(reward.parts["range"])
    [[0.6667, 1.0, 0.6867, 0.0602]]
    >>> show(reward.total_PG)
    [[0.8333, 1.0, 0.3434, 0.5301]]
    """

    name = "range"
    reads_verdicts = False
    reads_columns = ("lo", "hi")
    declares = ("monotone_length",)

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        lo, hi = tokens(rollouts, "lo"), tokens(rollouts, "hi")
        if (hi < lo).any():
            p, g = (hi < lo).nonzero()[0].tolist()
            raise BadInput(
                f"prompt {rollouts.prompt_ids[p]!r}: hi={hi[p, g]:g} is below lo={lo[p, g]:g}; "
                "a range needs lo <= hi"
            )
        n, cap = rollouts.tokens_PG, float(rollouts.max_length)
        above = ((cap - n) / (cap - hi).clamp(min=1.0)).clamp(min=0.0)
        inside = torch.where(n < lo, n / lo, torch.where(n > hi, above, 1.0))
        if not rollouts.known_PG.any():
            return RewardResult(inside, {"range": inside})
        correct = rollouts.correct_PG
        total = torch.where(rollouts.known_PG, (inside + correct) / 2, inside)
        return RewardResult(total, {"range": inside, "correct": correct})
