"""Base of engines whose weights another program loads."""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lenrl.generation.base import Batches, Completion, Decoding, Engine, Stage
from lenrl.generation.noise import noise_keys


@dataclass(frozen=True)
class Request:
    """One completion to ask for."""

    row: int
    prompt: list[int]  # token ids
    seed: int  # of its sampling, below 2^31
    most: int  # new tokens
    stage: Stage | None = None  # of a completion; None: all of it
    logps: bool = False


class ExternalEngine(Engine):
    """Base of engines whose weights another program loads: they answer requests in any order."""

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], decoding: Decoding, batches: Batches
    ) -> list[Completion]:
        keys = noise_keys(prompt_ids, decoding.seed)
        requests = [
            Request(row, list(ids), keys[row] % 2**31, decoding.max_new_tokens, logps=batches.logps)
            for row, ids in enumerate(prompt_ids)
            if row not in batches.done
        ]
        by_row = dict(batches.done)
        for completions in self.completed(requests, decoding, batches.size):
            by_row |= completions
            batches.keep(completions)
        return [by_row[row] for row in range(len(prompt_ids))]

    def extend(self, stages: Sequence[Stage], decoding: Decoding, size: int | None) -> list[Completion]:
        # A completion's noise is the engine's own; the seed moves on with the place.
        requests = [
            Request(row, [*s.prompt, *s.ids], (s.key + len(s.ids)) % 2**31, s.most, s, s.logps)
            for row, s in enumerate(stages)
        ]
        found: dict[int, Completion] = {}
        for some in self.completed(requests, decoding, size):
            found |= some
        return [found[row] for row in range(len(stages))]

    @abc.abstractmethod
    def completed(
        self, requests: Sequence[Request], decoding: Decoding, batch_size: int | None
    ) -> Iterator[dict[int, Completion]]:
        """Completions by row, as they come; `batch_size`: how many at a time, None: the engine's choice."""
