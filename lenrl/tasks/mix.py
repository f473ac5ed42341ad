"""Several tasks as one: each part has a weight, its own template, and its own kind of verifier."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import ConfigDict, Field, SerializeAsAny, field_validator

from lenrl.errors import BadInput, shown, validated
from lenrl.options import Options
from lenrl.tasks.base import Task
from lenrl.tasks.problem import Problem
from lenrl.verify.settings import PartsSettings, VerifierSettings

NAME = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$"  # of a part: it stands in the names of figures
OF_PARTS = ("system_prompt", "template", "answers_unasked", "max_unreadable", "long_prompts")


class Part(Options):
    """A task in a mix."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: SerializeAsAny[Task]
    weight: float = Field(
        default=1.0, gt=0, le=1e9, description="share of the training problems, over the sum of all"
    )
    verifier: dict[str, Any] = Field(
        default_factory=dict, description="what differs from the recipe's verifier"
    )


class MixTask(Task, frozen=True):
    """Tasks with weights: `parts={sums: {task: chain, weight: 3}, words: {task: words.csv}}`.

    An epoch has `train` problems, null: as many as the parts have together. A part has its weight's share of them,
    to the nearest problem: of a larger part some problems are drawn, of a smaller one all, again and again; a
    repetition is a prompt of its own, with `-2`, `-3`, ... behind its id. Which problems, and their order, follow
    from `seed` alone. `dev` and `test`, null: the parts' own problems, all of them; a number is shared out by the
    weights, the first problems of each part, none twice.

    The ids of problems begin with their part's name, which is their column `part` too.
    """

    name: Literal["mix"] = "mix"
    parts: dict[str, Part]  # by name: {task: ..., weight: 1, verifier: {}}

    @field_validator("parts", mode="before")
    @classmethod
    def _built(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not value:
            raise BadInput(
                f"task.parts={shown(value, 60)}: a mix has parts by name, e.g. "
                "task.parts='{sums:{task:chain,weight:3},words:{task:words.csv}}'"
            )
        return {str(name): _part(str(name), entry) for name, entry in value.items()}

    @field_validator(*OF_PARTS)
    @classmethod
    def _theirs(cls, value: Any, info: Any) -> Any:
        if value != cls.model_fields[info.field_name].default:
            raise ValueError(f"is an option of the parts: give task.parts.NAME.task.{info.field_name}")
        return value

    @property
    def labelled(self) -> bool:
        return all(part.task.labelled for part in self.parts.values())

    @property
    def sources(self) -> tuple[Task, ...]:
        return tuple(part.task for part in self.parts.values())

    @property
    def wording(self) -> list[Any]:
        return [{name: part.task.wording for name, part in self.parts.items()}]

    def part_of(self, problem: Problem) -> Task:
        return self.parts[problem.part].task

    def where_answered(self) -> MixTask:
        parts = {
            name: part.model_copy(update={"task": part.task.where_answered()})
            for name, part in self.parts.items()
        }
        return self.model_copy(update={"parts": parts})

    def verifier_settings(self, spec: Mapping[str, Any]) -> VerifierSettings:
        parts = {}
        for name, part in self.parts.items():
            try:
                parts[name] = part.task.verifier_settings({**spec, **part.verifier})
            except BadInput as fault:
                raise BadInput(f"task.parts.{name}: {fault}") from None
        return PartsSettings.of(parts)

    def count(self, split: str) -> int | None:
        own = super().count(split)
        return 0 if all(count == 0 for count in self.counts(split).values()) else own

    def counts(self, split: str) -> dict[str, int | None]:
        """The parts' own numbers of problems; None: all there are."""
        return {name: part.task.count(split) for name, part in self.parts.items()}

    def problems(self, split: str, count: int | None = None) -> list[Problem]:
        parts = {
            name: part.task.problems(split)
            for name, part in self.parts.items()
            if self.counts(split)[name] != 0
        }
        return self.mixed(split, parts, count)

    def mixed(
        self, split: str, parts: Mapping[str, Sequence[Problem]], count: int | None = None
    ) -> list[Problem]:
        """The problems of a split from those of its parts, spread evenly.

        Raises:
            BadInput: for an evaluation, fewer problems than its part's share of `dev` or `test`; for training, a part
                without problems or without a share.
        """
        count = self.count(split) if count is None else count
        if split != "train" and count is None:
            return _interleaved({name: self._own(name, problems) for name, problems in parts.items()})
        if split == "train" and (empty := [name for name in self.parts if not parts.get(name)]):
            raise BadInput(
                f"task.parts.{empty[0]}: gives no training problems; leave the part out, or give it some"
            )
        shares = _shares(
            sum(map(len, parts.values())) if count is None else count,
            {name: self.parts[name].weight for name in parts},
        )
        if count != 0 and (none := [name for name, share in shares.items() if not share]):
            raise BadInput(
                f"task.parts.{none[0]}.weight={self.parts[none[0]].weight:g}: its share of task.{split}="
                f"{sum(shares.values())} is no problem at all; raise the weight, or task.{split}"
            )
        drawn = self._drawn if split == "train" else self._first
        return _interleaved({name: drawn(name, parts[name], share, split) for name, share in shares.items()})

    def _own(self, name: str, problems: Sequence[Problem]) -> list[Problem]:
        """A part's problems as the mix's."""
        return [
            replace(p, id=f"{name}:{p.id}", part=name, columns={"part": name, **p.columns}) for p in problems
        ]

    def _first(self, name: str, problems: Sequence[Problem], share: int, split: str) -> list[Problem]:
        if share > len(problems):
            raise BadInput(
                f"task.parts.{name}: its share of the {split} problems is {share}, and it has {len(problems)}; lower "
                f"task.{split}, or leave it out to take every part's own"
            )
        return self._own(name, problems[:share])

    def _drawn(self, name: str, problems: Sequence[Problem], share: int, split: str) -> list[Problem]:
        """So many of a part's problems, each as often as any other, up to one."""
        rounds, rest = divmod(share, len(problems))
        own = self._own(name, problems)
        drawn = [
            p if turn == 0 else replace(p, id=f"{p.id}-{turn + 1}") for turn in range(rounds) for p in own
        ]
        chosen = random.Random(f"{self.seed}:{split}:{name}").sample(range(len(own)), rest)
        again = [own[i] for i in sorted(chosen)]
        return drawn + [replace(p, id=f"{p.id}-{rounds + 1}") if rounds else p for p in again]


def by_part(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    """Problems by their part; those of a task without parts under no name."""
    found: dict[str, list[Problem]] = {}
    for problem in problems:
        found.setdefault(problem.part, []).append(problem)
    return found


def _part(name: str, entry: Any) -> Part:
    """A part from its options, or from its task alone.

    Raises:
        BadInput: with the part's name.
    """
    from lenrl.tasks import build  # which makes mixes too

    place = f"task.parts.{name}"
    if isinstance(entry, Part):
        return entry
    entry = {"task": entry} if isinstance(entry, str | Task) else entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get("task"), Mapping | str | Task):
        raise BadInput(f"{place}={shown(entry, 60)} names no task; give {{task: ..., weight: ...}}")
    if not re.fullmatch(NAME, name):
        raise BadInput(f"{place}: a part's name is letters, digits, _ and - only")
    try:
        task = entry["task"] if isinstance(entry["task"], Task) else build(entry["task"])
    except BadInput as fault:
        raise BadInput(f"{place}: {fault}") from None
    if isinstance(task, MixTask):
        raise BadInput(f"{place} is a mix itself; name its parts here")
    return validated(Part, {**entry, "task": task}, place, f"part {name!r}")


def _shares(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers with that sum, in proportion to the weights; what rounding leaves goes to the largest remainders.

    >>> _shares(10, {"a": 3, "b": 1})
    {'a': 8, 'b': 2}
    """
    exact = {name: total * weight / math.fsum(weights.values()) for name, weight in weights.items()}
    shares = {name: math.floor(value) for name, value in exact.items()}
    left = total - sum(shares.values())
    for name in sorted(exact, key=lambda name: shares[name] - exact[name])[:left]:
        shares[name] += 1
    return shares


def _interleaved(parts: Mapping[str, Sequence[Problem]]) -> list[Problem]:
    """All problems, so that every stretch of the list holds each part's share of it."""
    placed: Iterator[tuple[float, int, Problem]] = (
        ((i + 0.5) / len(problems), number, problem)
        for number, problems in enumerate(parts.values())
        for i, problem in enumerate(problems)
    )
    return [problem for *_, problem in sorted(placed, key=lambda item: item[:2])]
