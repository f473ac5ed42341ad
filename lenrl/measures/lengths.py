"""Spread of the lengths of one prompt's completions, and those that ran in a loop.

Source of `prompt_lengths`: CASTILLO (arXiv 2505.16881).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import Array, table

PERCENTILES = (25, 50, 75, 99)
LONGEST_LOOP = 512  # tokens of a repeated block that is looked for
REPEATS = 4  # of a block; fewer are a refrain
LOOP_TOKENS = 32  # that the repeats cover at least: "no no no no" is none


def prompt_lengths(tokens_PS: ArrayLike, degenerate_PS: ArrayLike) -> dict[str, Array]:
    """Of each prompt's lengths: mean, sd, percentiles, shortest, longest; and its share of degenerate ones.

    The sd is that of a sample (over S - 1), NaN with one sample. Percentiles interpolate linearly.

    Returns:
        Arrays (P,) by name, tokens but for `degenerate_share`.
    """
    tokens = table(tokens_PS)
    S = tokens.shape[1]
    return {
        "mean": tokens.mean(axis=1),
        "sd": tokens.std(axis=1, ddof=1) if S > 1 else np.full(len(tokens), np.nan),
        **{f"p{percent}": np.percentile(tokens, percent, axis=1) for percent in PERCENTILES},
        "shortest": tokens.min(axis=1),
        "longest": tokens.max(axis=1),
        "degenerate_share": table(degenerate_PS).mean(axis=1),
    }


def loops(ids: Sequence[int]) -> bool:
    """True if the token ids end in a block repeated `REPEATS` times or more, over `LOOP_TOKENS` or more.

    A completion counts as degenerate if it was cut at the cap while it looped; the rule is ours, by ids, so
    that it holds for any language. The last repeat may be cut.

    >>> loops([1, 2, 3] + [7, 8] * 20), loops(list(range(40)))
    (True, False)
    """
    tail = np.asarray(ids)
    for period in range(1, min(LONGEST_LOOP, len(tail) // REPEATS) + 1):
        span = max(REPEATS * period, LOOP_TOKENS)
        if len(tail) < span:
            continue
        if tail[-1] == tail[-1 - period] and (tail[-span:-period] == tail[len(tail) - span + period :]).all():
            return True
    return False
