"""Problems whose difficulty is the length of their input: trained up to a length, tested beyond it."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lenrl.tasks.algorithm_steps import ALGORITHMS, INDICES, Instance
from lenrl.tasks.base import SPLITS, Task
from lenrl.tasks.chain import MOST, alternate, passes_of, split_of
from lenrl.tasks.problem import Problem

SHORTEST, LONGEST = 2, INDICES // 2  # elements
TRIES = 200  # draws in a row that bring no new problem: a length is exhausted


class AlgorithmsTask(Task, frozen=True):
    """An algorithm over a list, e.g. `algorithm=parity`: train and dev have 2 to `train_max` elements, test `lengths`.

    Lengths take turns; those of which no more problems exist drop out. A problem's elements decide its split,
    whatever its indices and the seed.
    """

    VERIFIER: ClassVar[str | None] = "exact"

    name: Literal["algorithms"] = "algorithms"
    algorithm: Literal["copy", "parity", "count", "mode", "addition", "robber", "sort", "search"] = "parity"
    train_max: int = Field(default=8, ge=SHORTEST, le=LONGEST)  # elements
    lengths: tuple[Annotated[int, Field(ge=SHORTEST, le=LONGEST)], ...] = Field(
        default=(4, 6, 8, 9, 10, 12, 16, 20, 24), min_length=1, max_length=20
    )  # elements, of test problems
    # An index token before each element, consecutive from a random one; not with sort and search.
    hints: bool = True
    answers_unasked: bool = True  # as a model does that was made for it
    train: int = Field(default=4000, ge=0, le=MOST)  # problems
    dev: int = Field(default=200, ge=0, le=MOST)  # problems
    test: int = Field(default=450, ge=0, le=MOST)  # problems

    def problems(self, split: str, count: int | None = None) -> list[Problem]:
        """The first `count` problems of a split (default: the split's own number), without duplicates.

        `sft` is a further split, as long as train, of which `count` must be given.

        Raises:
            ValueError: the split is unknown, or holds fewer than `count` problems.
        """
        return [self._problem(one) for one in self.instances(split, count)]

    def instances(self, split: str, count: int | None = None) -> list[Instance]:
        """The instances of `problems`."""
        needed = count if count is not None and split in (*SPLITS, "sft") else self.count(split) or 0
        lengths = self.lengths if split == "test" else range(SHORTEST, self.train_max + 1)
        drawn = list(islice(alternate([self._of_length(n, split) for n in lengths]), needed))
        if len(drawn) < needed:
            raise ValueError(
                f"{needed} problems asked of split {split!r}, but only {len(drawn)} exist; ask for fewer or longer ones"
            )
        return drawn

    def attempts(self, problem: Problem, thinking: str, answer: str | None) -> list[tuple[list[str], bool]]:
        """Passes, between lines that say `Wait`; one that leaves out an element or its own state is broken."""
        algorithm = ALGORITHMS[self.algorithm]
        one, given = algorithm.instance(problem.prompt), "".join((answer or "").split())
        passes = ["".join(lines) for lines in passes_of(thinking)]
        return [
            (algorithm.steps_of(p), answer is None or algorithm.result_of(one, p) != given) for p in passes
        ]

    def _of_length(self, n: int, split: str) -> Iterator[Instance]:
        """Instances of one length in one split, in an order that depends on the seed only."""
        rng = random.Random(f"{self.seed}:{self.algorithm}:{split}:{n}")
        algorithm, seen, idle = ALGORITHMS[self.algorithm], set[Instance](), 0
        hinted = self.hints and algorithm.hinted
        while idle < TRIES:
            items, query = algorithm.draw(n, rng)
            one = Instance(items, query, rng.randrange(INDICES - n + 1) if hinted else None)
            idle += 1
            if one not in seen and split_of(f"{self.algorithm}:{query}:{'|'.join(items)}") == split:
                seen.add(one)
                idle = 0
                yield one

    def _problem(self, one: Instance) -> Problem:
        algorithm = ALGORITHMS[self.algorithm]
        text = algorithm.prompt(one)
        identity = f"{self.algorithm}:{text}"
        return Problem(identity, text, answer=algorithm.answer(one), difficulty=len(one.items))
