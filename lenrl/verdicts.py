"""The judgement of one completion. Standard library only: workers of the verifier may make it."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class StepScore:
    """The score of one reasoning step: any finite number, by a process reward model the step's chance to be right.

    `end` is where the step ends, at least 1: characters of the completion's text in a `Verdict`, kept tokens in
    `Rollouts.steps_PG`. Steps follow each other, so that the next one begins there.

    Raises:
        ValueError: a score that is not finite, or an end below 1.
    """

    score: float
    end: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError(f"a step's score is {self.score!r}: must be a finite number")
        if self.end < 1:
            raise ValueError(f"a step ends at {self.end!r}: must be at least 1")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Judgement of one completion by the verifier.

    `correct` is None when nobody can say: the gold answer is unreadable, or the verifier itself failed.
    An answer that is missing or that overruns a limit is wrong (False), never unknown.

    Raises:
        ValueError: a score outside [0, 1] or without `correct`, or steps whose ends do not rise.
    """

    correct: bool | None
    answer: str | None = None  # the extracted answer, shortened for logs
    formatted: bool = False  # an answer was found, non-empty, and reads as mathematics
    think_tags: bool = True  # think tags are well formed
    answer_tags: bool = True  # answer tags are well formed
    outcome: Literal["ok", "timeout", "memory", "limit", "error", "abstained"] = "ok"
    score: float | None = None  # of a graded verdict, from 0 to 1; None: as `correct` says
    steps: tuple[StepScore, ...] = ()  # of a verifier that scores reasoning steps, in the text's order

    def __post_init__(self) -> None:
        if self.score is not None:
            if not 0 <= self.score <= 1:
                raise ValueError(f"a verdict's score is {self.score!r}: must be between 0 and 1")
            if self.correct is None:
                raise ValueError(
                    f"a verdict of score {self.score!r} has correct=None: say True or False as well"
                )
        ends = [step.end for step in self.steps]
        if any(later <= earlier for earlier, later in zip(ends, ends[1:], strict=False)):
            raise ValueError(f"steps end at characters {ends}: each must end behind the one before it")
