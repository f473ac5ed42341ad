"""Log-probs of rows of similar lengths at a time, without columns that none of them uses. Knows no TRL, no trainer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from lenrl.training.distributed import ProcessGroup

Scored = tuple[Tensor, Tensor | None]
"""Log-probs and, where they are asked for, entropies of completion tokens, both (N, T)."""
Forward = Callable[[Tensor, Tensor, int], Scored]
"""Scores the last T columns of ids (N, L) under a mask (N, L)."""

FORWARD_TOKENS = {"cpu": 64, "cuda": 2048}
"""Tokens whose computing takes as long as one more forward and backward pass does by itself, by kind of device."""


def lengths(mask_NL: Tensor, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each row's prompt, which ends before the last `width` columns, and of its completion, int64 (N,)."""
    index = torch.arange(1, mask_NL.size(1) + 1, device=mask_NL.device)
    prompt_NS, completion_NT = mask_NL[:, :-width].bool(), mask_NL[:, -width:].bool()
    S = prompt_NS.size(1)
    first_N = torch.where(prompt_NS, S + 1 - index[:S], 0).amax(1) if S else mask_NL.new_zeros(len(mask_NL))
    last_N = torch.where(completion_NT, index[:width], 0).amax(1)
    prompt_N, completion_N = torch.stack([first_N, last_N]).cpu().numpy()
    return prompt_N, completion_N


def plan(
    prompt_N: np.ndarray, completion_N: np.ndarray, *, most: int, forward_tokens: int
) -> list[list[int]]:
    """Rows shared out to forwards: the cheapest way, by tokens with padding and the cost of a forward.

    Rows are taken in the order of their lengths, so that one pass over them finds the best cuts.

    Args:
        prompt_N: tokens of each row's prompt.
        completion_N: the same of its completion.
        most: tokens with padding in a forward; a row with more has one to itself.
        forward_tokens: see `FORWARD_TOKENS`.

    >>> few, many = np.array([2, 2, 2, 2]), np.array([3, 90, 4, 88])
    >>> plan(few, many, most=1000, forward_tokens=20)
    [[0, 2], [1, 3]]
    >>> plan(few, many, most=1000, forward_tokens=1000), plan(few, many, most=100, forward_tokens=20)
    ([[0, 1, 2, 3]], [[0, 2], [3], [1]])
    """
    order = np.argsort(prompt_N + completion_N, kind="stable")
    prompt, completion = prompt_N[order], completion_N[order]
    cost, begin = np.zeros(len(order) + 1), np.zeros(len(order) + 1, dtype=int)
    for end in range(1, len(order) + 1):
        # The cheapest way for the first `end` rows, by where its last forward begins
        widest = np.maximum.accumulate(prompt[:end][::-1]) + np.maximum.accumulate(completion[:end][::-1])
        tokens = (widest * np.arange(1, end + 1))[::-1]
        whole = cost[:end] + tokens + forward_tokens
        whole[:-1][tokens[:-1] > most] = np.inf
        begin[end] = whole.argmin()
        cost[end] = whole[begin[end]]
    forwards, end = [], len(order)
    while end:
        forwards.append(sorted(order[begin[end] : end].tolist()))
        end = begin[end]
    return forwards[::-1]


@dataclass(frozen=True)
class Chunks:
    """Scores batches a chunk at a time: the same log-probs from fewer padded tokens, with gradient or without.

    Where passes are collective (a wrapped model broadcasts its buffers or gathers its weights in each) every process
    must make as many: all make as many as the one that needs most, the others with a row that counts for nothing.
    """

    group: ProcessGroup
    tokens: int | None  # with padding, in a forward; None: what the whole batch has

    def score(self, forward: Forward, ids_NL: Tensor, mask_NL: Tensor, width: int, rows: int) -> Scored:
        """Log-probs and entropies (N, T) of the last `width` columns, 0 where the mask is; see `Forward`.

        `rows`: of one forward without chunks.
        """
        prompt_N, completion_N = lengths(mask_NL, width)
        shortest = int((prompt_N + completion_N).argmin())
        scored = completion_N.nonzero()[0]
        if not len(scored):  # one row keeps the result connected to the weights
            scored = np.array([shortest])
        most = self.tokens or rows * ids_NL.size(1)
        own = plan(
            prompt_N[scored],
            completion_N[scored],
            most=most,
            forward_tokens=FORWARD_TOKENS.get(ids_NL.device.type, FORWARD_TOKENS["cuda"]),
        )
        chunks = [scored[chunk].tolist() for chunk in own]
        spare = [[shortest]] * (self.group.max(len(chunks)) - len(chunks))
        S = ids_NL.size(1) - width

        def pass_of(chunk: Sequence[int]) -> Scored:
            first, last = max(1, prompt_N[chunk].max()), max(1, completion_N[chunk].max())
            columns = slice(max(0, S - first), S + last)
            logp, entropy = forward(ids_NL[chunk, columns], mask_NL[chunk, columns], int(last))
            shorter = (0, width - int(last))
            return pad(logp, shorter), None if entropy is None else pad(entropy, shorter)

        parts = [pass_of(chunk) for chunk in chunks]
        parts[0] = _and_nothing_of(parts[0], [pass_of(chunk) for chunk in spare])
        index = torch.tensor([row for chunk in chunks for row in chunk], device=ids_NL.device)
        logps, entropies = zip(*parts, strict=True)
        return _scattered(logps, index, len(ids_NL)), (
            None if entropies[0] is None else _scattered(entropies, index, len(ids_NL))
        )


def _and_nothing_of(part: Scored, spare: Sequence[Scored]) -> Scored:
    """A result that depends on others with weight 0, so that their backward passes are made too."""
    return part[0] + sum(0.0 * logp.sum() for logp, _ in spare), part[1]


def _scattered(parts: Sequence[Tensor], index: Tensor, rows: int) -> Tensor:
    """(rows, T) with the parts' rows at `index`, 0 elsewhere."""
    values = torch.cat(list(parts))
    return values.new_zeros(rows, values.size(1)).index_copy(0, index, values)
