"""Problems of reasoning-gym's generators, by name; scored by the generator's own rule."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lenrl.errors import BadInput, did_you_mean
from lenrl.tasks.base import Task
from lenrl.tasks.chain import split_of
from lenrl.tasks.problem import Problem
from lenrl.tasks.rounds import lengthened
from lenrl.verify.gym_scorer import evaluates

SEEDS_A_SPLIT = 2**28  # reasoning-gym seeds problem i with seed + i: ranges this far apart never meet
SEED_STRIDE = 2**20  # between two values of `seed`
MAX_SEED = SEEDS_A_SPLIT // SEED_STRIDE - 2
ORDER = ("test", "dev", "train", "sft")  # an earlier split keeps a problem that a later one draws again
TRIES_A_PROBLEM = 20  # draws before a generator counts as exhausted
SHARES = 8  # times as many where a split takes only a share of the numbers


class GymTask(Task, frozen=True):
    """A reasoning-gym generator, e.g. `generator="chain_sum"`, `config={"max_terms": 4}`.

    Splits draw from disjoint ranges of seeds, and a problem that an earlier split (test, dev, train) has
    is skipped in a later one, so that no question is in two splits. With `templates` the numbers of a problem decide
    its split, so that no two share a template's numbers. The gold answer is JSON for the
    verifier kind `gym`: `{"dataset": ..., "config": ..., "entry": {question, answer, metadata}}`.
    """

    VERIFIER: ClassVar[str | None] = "gym"

    name: Literal["gym"] = "gym"
    generator: str  # of reasoning-gym
    config: dict[str, Any] = Field(default_factory=dict)  # the generator's own settings
    difficulty: str | None = None  # a key of the entry's metadata
    templates: tuple[
        Annotated[int, Field(ge=0, le=99)], ...
    ] = ()  # of gsm_symbolic: these only, taking turns; splits then share no numbers
    template: str = "{prompt}\n\nPut the final answer, and nothing else, into \\boxed{}."
    train: int = Field(default=4000, ge=0)  # problems
    dev: int = Field(default=200, ge=0)  # problems
    test: int = Field(default=500, ge=0)  # problems
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    # Of `gsm_symbolic`: every problem comes this many times more, longer told each time; splits count problems.
    rounds: int = Field(default=0, ge=0, le=4)

    @model_validator(mode="after")
    def _has_sentences(self) -> Self:
        if self.rounds and self.generator != "gsm_symbolic":
            raise ValueError(
                f"rounds={self.rounds} tells stories longer, and generator={self.generator!r} tells none: "
                "leave rounds out, or choose generator=gsm_symbolic"
            )
        return self

    @model_validator(mode="after")
    def _has_templates(self) -> Self:
        if self.templates and self.generator != "gsm_symbolic":
            raise ValueError(
                f"generator={self.generator!r} has no templates; set generator=gsm_symbolic, or drop templates"
            )
        if len(set(self.templates)) < len(self.templates):
            raise ValueError(f"templates={self.templates} names one twice; they take turns in equal shares")
        return self

    def problems(self, split: str, count: int | None = None) -> list[Problem]:
        """`count` problems (default: the split's own number), without duplicates.

        With `templates` there is a further split, `sft`, of which `count` must be given.
        """
        needed = count if count is not None and (self.templates or split != "sft") else self.count(split) or 0
        taken: set[str] = set()
        for earlier in () if self.templates else ORDER[: ORDER.index(split)]:  # disjoint by numbers
            taken |= {entry["question"] for _, entry in self._draw(earlier, self.count(earlier) or 0, taken)}
        drawn = list(self._draw(split, needed, taken))
        if len(drawn) < needed:
            raise BadInput(
                f"task.{split}={needed} problems asked, but generator {self.generator!r} gave {len(drawn)} "
                f"different ones; ask for fewer, or widen task.config"
            )
        if not self.rounds:
            return [self._problem(index, entry) for index, entry in drawn]
        return [
            replace(
                problem,
                id=f"{problem.id}:{number}",
                prompt=lengthened(problem.prompt, number, index),
                difficulty=number,
                columns={"base": index, "round": number},
            )
            for index, entry in drawn
            for problem in [self._problem(index, entry)]
            for number in range(self.rounds + 1)
        ]

    def _draw(self, split: str, needed: int, taken: set[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Up to `needed` entries whose questions are new, with the seeds they came from."""
        if not needed:
            return
        first = ORDER.index(split) * SEEDS_A_SPLIT + self.seed * SEED_STRIDE
        tries = min(SEED_STRIDE, needed * TRIES_A_PROBLEM * (SHARES if self.templates else 1))
        dataset = self._dataset(first, tries)
        seen = set(taken)
        for index in range(tries):
            entry = dataset[index]
            if self.templates:
                entry["metadata"]["template"] = dataset.task_indices[index]
            if entry["question"] in seen or (self.templates and _split_of_numbers(entry) != split):
                continue
            seen.add(entry["question"])
            yield first + index, entry
            needed -= 1
            if not needed:
                return

    def _dataset(self, seed: int, size: int) -> Any:
        try:
            import reasoning_gym
            from reasoning_gym.factory import DATASETS
        except ImportError as error:
            raise BadInput(
                "task.name='gym' needs reasoning-gym; install it: pip install 'lenrl[gym]'"
            ) from error
        if self.generator not in DATASETS:
            hint = did_you_mean(self.generator, DATASETS, "task.generator={}")
            raise BadInput(
                f"task.generator={self.generator!r} is none of reasoning-gym's {len(DATASETS)}.{hint}"
            )
        if reasons := evaluates(self.generator, DATASETS[self.generator][0]):
            raise BadInput(
                f"task.generator={self.generator!r}: its scorer may run what a model wrote ({', '.join(reasons)}), and "
                "lenrl has none of its own for it; choose another generator"
            )
        try:
            dataset: Any = reasoning_gym.create_dataset(self.generator, seed=seed, size=size, **self.config)
            if self.templates:
                dataset.task_indices = _taking_turns(self.templates, size)
            return dataset
        except (AssertionError, AttributeError, TypeError, ValueError) as error:
            raise BadInput(
                f"task.config={self.config!r} is refused by generator {self.generator!r}: {error}; "
                "see the generator's config class in reasoning-gym"
            ) from error

    def _gold(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        config = {"config": self.config} if self.config else {}  # some scorers read their generator's
        return {"dataset": self.generator, **config, "entry": _with_tuples(dict(entry))}

    def _problem(self, seed: int, entry: Mapping[str, Any]) -> Problem:
        grade = entry["metadata"].get(self.difficulty) if self.difficulty else None
        return Problem(
            id=f"gym:{self.generator}:{seed}",
            prompt=entry["question"],
            answer=json.dumps(self._gold(entry), default=str),
            difficulty=grade if grade is None or isinstance(grade, str | int) else str(grade),
        )


def _taking_turns(templates: tuple[int, ...], size: int) -> list[int]:
    from reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic import (  # pyright: ignore[reportMissingImports]
        tasks_ok,
    )

    if faulty := sorted(set(templates).difference(tasks_ok)):
        raise BadInput(
            f"task.templates: {faulty} are none of the {len(tasks_ok)} that reasoning-gym holds for right; choose of "
            f"{', '.join(map(str, tasks_ok))}"
        )
    return [templates[index % len(templates)] for index in range(size)]


def _split_of_numbers(entry: Mapping[str, Any]) -> str:
    """The only split of a problem, by a hash of its template and the numbers in its question."""
    numbers = re.findall(r"\d+(?:\.\d+)?", entry["question"])
    return split_of(f"{entry['metadata']['template']}:{' '.join(numbers)}")


def _with_tuples(value: Any) -> Any:
    """Tuples as `{"__tuple__": [...]}`: JSON would make lists of them, and some scorers compare with tuples."""
    if isinstance(value, Mapping):
        return {name: _with_tuples(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_with_tuples(item) for item in value]
        return {"__tuple__": items} if isinstance(value, tuple) else items
    return value
