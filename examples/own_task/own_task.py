"""A task of one's own, a generator of problems, and the kind of verifier that its answers need.

The problems are sums of digits whose signs take turns, `3+4-2+7`, to be worked modulo 10; the embedded reasoner knows
such chains. `Congruent` takes any number of the right remainder: 12 for 2. `VERIFIER` makes it the task's kind, so that
a recipe need not say so; whoever evaluates another model on the task gets it too.

    lenrl check own_task.yaml --plugin own_task.py
    lenrl train own_task.yaml --plugin own_task.py
    lenrl eval tiny task=alternating task.terms=6 --plugin own_task.py
"""

import hashlib
import itertools
import random
import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from lenrl.tasks.base import SPLITS, Task
from lenrl.tasks.problem import Problem
from lenrl.verify.base import VerifierPlugin


class Alternating(Task, frozen=True):
    """Sums of `terms` digits whose signs take turns."""

    VERIFIER = "congruent"

    name: Literal["alternating"] = "alternating"
    train: int = Field(default=500, ge=0)
    dev: int = Field(default=50, ge=0)
    test: int = Field(default=100, ge=0)
    terms: int = Field(default=4, ge=3, le=8)

    def problems(self, split: str, count: int | None = None) -> list[Problem]:
        """The first problems of a stream, the same ones each time; no split has another's."""
        wanted = self.count(split) if count is None else count
        problems = list(itertools.islice(self._stream(split), wanted))
        if wanted is not None and len(problems) < wanted:
            raise ValueError(
                f"{split}={wanted}: of {self.terms} terms there are {len(problems)}; ask for fewer"
            )
        return problems

    def _stream(self, split: str) -> Iterator[Problem]:
        rng, seen = random.Random(f"{split} {self.seed} {self.terms}"), set()
        while len(seen) < 10**self.terms:  # all that there are
            digits = [rng.randrange(10) for _ in range(self.terms)]
            text = str(digits[0]) + "".join(f"{'+-'[i % 2]}{digit}" for i, digit in enumerate(digits[1:]))
            if text not in seen and _split_of(text) == split:
                value = digits[0] + sum((-1) ** i * digit for i, digit in enumerate(digits[1:]))
                yield Problem(
                    id=f"{self.name}:{text}", prompt=text, answer=str(value % 10), difficulty=self.terms
                )
            seen.add(text)


class Congruent(VerifierPlugin):
    """An integer that leaves the gold answer's remainder."""

    name = "congruent"

    modulus: int = Field(default=10, ge=2)

    def judge(self, text, answer, gold, columns):
        number = re.fullmatch(r"\s*(-?\d{1,18})\s*", answer or "")
        return number is not None and (int(number[1]) - int(gold)) % self.modulus == 0

    def readable(self, gold):
        return gold.isdecimal()


def _split_of(text: str) -> str:
    """Train gets 8 of 10 problems, by a hash of the text: no seed moves one to another split."""
    place = hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % 10
    return SPLITS[max(0, place - 7)]
