"""Base of all tasks: a frozen, validated source of problems in the splits train, dev and test."""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from lenrl.files import worded
from lenrl.options import Options
from lenrl.tasks.problem import Problem
from lenrl.verify.settings import VerifierSettings

SPLITS = ("train", "dev", "test")


class Task(
    Options,
    abc.ABC,
    frozen=True,  # pyright: ignore[reportGeneralTypeIssues] - as all that inherit from Options are
    extra="forbid",
    allow_inf_nan=False,
    validate_default=True,
):
    """Base of all tasks; `name` is what a recipe calls it."""

    VERIFIER: ClassVar[str | None] = None  # kind of verifier that its gold answers need; None: any

    name: str
    train: int | None = Field(default=None, ge=0, description="problems; null: all there are")
    dev: int | None = Field(default=None, ge=0, description="problems; null: all there are")
    test: int | None = Field(default=None, ge=0, description="problems; null: all there are")
    system_prompt: str | None = None  # may hold {hint}; @FILE reads it from a file
    template: str = "{prompt}"  # of the user's message; may hold {hint}; @FILE reads it from a file
    # The model was trained to answer in the verifier's form: no warning where no prompt asks for it.
    answers_unasked: bool = False
    max_unreadable: float = Field(default=0.05, ge=0, le=1)  # share of gold answers
    long_prompts: Literal["error", "drop"] = "error"  # prompts that leave no room for max_completion_length
    seed: int = 0  # of what the task draws

    @field_validator("system_prompt", "template", mode="before")
    @classmethod
    def _of_file(cls, value: Any, info: ValidationInfo) -> Any:
        return worded(value, f"task.{info.field_name}")

    @field_validator("template")
    @classmethod
    def _holds_prompt(cls, template: str) -> str:
        if "{prompt}" not in template:
            raise ValueError("holds no {prompt}; every problem would read the same: put {prompt} into it")
        return template

    @property
    def labelled(self) -> bool:
        """The task has gold answers."""
        return True

    @property
    def sources(self) -> tuple[Task, ...]:
        """The tasks that problems come from: this one, of a mix its parts'."""
        return (self,)

    @property
    def wording(self) -> list[Any]:
        """The words around every prompt, for hashes."""
        return [self.system_prompt, self.template]

    def part_of(self, problem: Problem) -> Task:
        """The task that a problem comes from: its words surround the prompt."""
        return self

    def verifier_settings(self, spec: Mapping[str, Any]) -> VerifierSettings:
        """Settings of the verifier of its answers, from a recipe's `verifier` section.

        Raises:
            BadInput: an unknown key, or a value out of bounds.
        """
        return VerifierSettings.read(spec, self.VERIFIER)

    def where_answered(self) -> Task:
        """This task, or the same one without gold answers if its data has none: for methods that need none."""
        return self

    @abc.abstractmethod
    def problems(self, split: str, count: int | None = None) -> list[Problem]:
        """The problems of a split, the same ones in every call; `count` overrides the split's own number.

        Raises:
            BadInput or ValueError: the split does not exist, has fewer problems, or its data are bad.
        """

    def attempts(self, problem: Problem, thinking: str, answer: str | None) -> list[tuple[list[str], bool]]:
        """Steps of each attempt in a thinking, and whether it failed to reach the answer; of tasks that can read it."""
        raise NotImplementedError

    def count(self, split: str) -> int | None:
        """Number of problems that a split gives; None: all there are."""
        if split not in SPLITS:
            raise ValueError(f"split={split!r} is unknown; a task has {', '.join(SPLITS)}")
        return getattr(self, split)


def digest(task: Task, problems: Sequence[Problem], columns: Sequence[str] = ()) -> str:
    """Short hash of what a model is asked and what counts as right: prompts, answers, templates, named columns."""
    rows: list[Any] = [
        [p.prompt, p.answer, *([p.context] if p.context else []), *([p.id] if p.part else [])]
        for p in problems
    ]
    read = [[p.columns.get(name) for name in columns] for p in problems] if columns else []
    text = json.dumps([*task.wording, rows, *([columns, read] if columns else [])], default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
