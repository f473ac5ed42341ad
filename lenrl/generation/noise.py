"""Sampling noise that belongs to a completion: the same whoever shares its batch, on however many processes."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def key_of(text: bytes) -> int:
    """A 128-bit key."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def noise_keys(prompts: Sequence[Sequence[int]], seed: int) -> list[int]:
    """A key a row, from the seed, the prompt's tokens and how often they occurred before."""
    ids = [np.asarray(prompt, dtype="<i8").tobytes() for prompt in prompts]
    return [
        key_of(b"%d:%d:" % (seed, before) + prompt)
        for prompt, before in zip(ids, occurrences(ids), strict=True)
    ]


def rollout_keys(prompt_ids: Sequence[str], seed: int, rollout: int) -> list[int]:
    """A key a row of a rollout over all processes, from the seed, the rollout's number, the prompt's id and how often
    that occurred before in it."""
    return [
        key_of(f"{seed}:{rollout}:{sample}:{name}".encode())
        for name, sample in zip(prompt_ids, occurrences(prompt_ids), strict=True)
    ]


def occurrences(values: Sequence[object]) -> list[int]:
    """The number of times that each value stands before its place.

    >>> occurrences(["a", "b", "a"])
    [0, 0, 1]
    """
    seen: Counter[object] = Counter()
    before = []
    for value in values:
        before.append(seen[value])
        seen[value] += 1
    return before


def uniform(keys: Sequence[int], tokens: int, used: Sequence[int] | None = None) -> Tensor:
    """Uniform numbers (N, tokens) in [0, 1), float64: each row's own stream, after those that are used up."""
    before = used or [0] * len(keys)
    rows = [
        np.random.Generator(np.random.Philox(key=key)).random(done + tokens)[done:]
        for key, done in zip(keys, before, strict=True)
    ]
    return torch.from_numpy(np.stack(rows))
