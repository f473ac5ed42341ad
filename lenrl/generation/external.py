"""Base of engines whose weights another program loads."""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lenrl.generation.base import Batches, Completion, Decoding, Engine
from lenrl.generation.noise import noise_keys


@dataclass(frozen=True)
class Request:
    """One completion to ask for."""

    row: int
    prompt: list[int]  # token ids
    seed: int  # of its sampling, below 2^31


class ExternalEngine(Engine):
    """Base of engines whose weights another program loads: they answer requests in any order."""

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], decoding: Decoding, batches: Batches
    ) -> list[Completion]:
        """See `Engine`."""
        keys = noise_keys(prompt_ids, decoding.seed)
        requests = [
            Request(row, list(ids), keys[row] % 2**31)
            for row, ids in enumerate(prompt_ids)
            if row not in batches.done
        ]
        by_row = dict(batches.done)
        for completions in self.completed(requests, decoding, batches.size):
            by_row |= completions
            batches.keep(completions)
        return [by_row[row] for row in range(len(prompt_ids))]

    @abc.abstractmethod
    def completed(
        self, requests: Sequence[Request], decoding: Decoding, batch_size: int | None
    ) -> Iterator[dict[int, Completion]]:
        """Completions by row, as they come; `batch_size`: how many at a time, None: the engine's choice."""
