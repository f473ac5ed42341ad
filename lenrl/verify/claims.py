"""Completions to be judged, also while more of them come."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from lenrl.rollouts import Verdict
from lenrl.verify.chunked_work import ChunkedWork
from lenrl.verify.kinds import Result
from lenrl.verify.settings import VerifierSettings
from lenrl.verify.worker import Pair


@dataclass(frozen=True)
class Claim:
    """A completion and the gold answer it is held against (None: there is none, only the format is judged)."""

    text: str
    answer: str | None
    think_prefilled: bool = False
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)  # of the problem
    part: str = ""  # of a mix


class PendingVerdicts:
    """Claims that the workers judge while more of them come; a verifier's `begin` makes one.

    Args:
        pair: the part of a claim that is judged.
        by_text: the result of answer and gold answer where no worker is needed.
        work: what the workers do with pairs.
        verdicts: verdicts of claims with their pairs, from the pairs' results.
    """

    def __init__(
        self,
        pair: Callable[[Claim], Pair],
        by_text: Callable[[str | None, str], Result | None],
        work: ChunkedWork,
        verdicts: Callable[[Sequence[tuple[Claim, Pair]], Mapping[Pair, Result]], list[Verdict]],
    ) -> None:
        self._pair, self._by_text, self._work, self._verdicts = pair, by_text, work, verdicts
        self._claims: dict[int, tuple[Claim, Pair]] = {}
        self._seen: set[Pair] = set()
        self._known: dict[Pair, Result] = {}  # of what needed no worker

    def submit(self, claims: Mapping[int, Claim]) -> None:
        """Begin with claims, by a number of the caller's; returns at once. Equal claims are judged once."""
        some = {number: (claim, self._pair(claim)) for number, claim in claims.items()}
        self._claims |= some
        new = [pair for pair in dict.fromkeys(pair for _, pair in some.values()) if pair not in self._seen]
        self._seen.update(new)
        results = {pair: self._by_text(*pair[:2]) for pair in new}
        self._known |= {pair: result for pair, result in results.items() if result is not None}
        self._work.add([pair for pair, result in results.items() if result is None])

    def verdicts(self) -> dict[int, Verdict]:
        """One verdict a claim, in the order of `submit`, once the workers are done. No text makes it raise."""
        results = self._known | self._work.results()
        return dict(zip(self._claims, self._verdicts(list(self._claims.values()), results), strict=True))


class AnyVerifier(abc.ABC):
    """A verifier of one kind, or those of a mix's parts."""

    settings: VerifierSettings

    @property
    @abc.abstractmethod
    def counts(self) -> dict[str, int]:
        """Claims, and those of them that could not be judged, by what was in the way; workers' restarts."""

    @abc.abstractmethod
    def part(self, name: str) -> AnyVerifier:
        """The verifier of a part of a mix."""

    @abc.abstractmethod
    def begin(self) -> PendingVerdicts:
        """Verify claims that are still to come."""

    @abc.abstractmethod
    def readable(self, golds: Sequence[str | None]) -> list[bool]:
        """For each gold answer: it parses within the limits and verifies against itself."""

    @abc.abstractmethod
    def close(self) -> None:
        """Kill the workers. The verifier may be used again: it starts new ones."""

    def verify(self, claims: Sequence[Claim]) -> list[Verdict]:
        """One verdict a claim, in order. No text makes it raise; equal claims are judged once."""
        pending = self.begin()
        pending.submit(dict(enumerate(claims)))
        return list(pending.verdicts().values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
