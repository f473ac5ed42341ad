"""One generation batch, complete over all processes: all that a strategy may know.

Axes, as suffixes of tensor names:
    P   prompts (groups) of the generation batch, in batch order
    G   completions of one prompt (`trainer.num_generations`)
    T   tokens of a completion, right-padded
    N   rows, N = P * G, or a micro-batch's rows

Lengths are tokens, a generated EOS counted, padding never. Unknown is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class StepScore:
    """The score of one reasoning step: any finite number, by a process reward model the step's chance to be right.

    `end` is where the step ends: characters of the completion's text, at least 1. Steps follow each other, so that the
    next one begins there.

    Raises:
        ValueError: a score that is not finite, or an end below 1.
    """

    score: float
    end: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError(f"a step's score is {self.score!r}: must be a finite number")
        if self.end < 1:
            raise ValueError(f"a step ends at character {self.end!r}: must be at least 1")


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


@dataclass(frozen=True)
class Rollouts:
    """A generation batch of P prompts with G completions each, after the truncation.

    Strategies read it and never write to it. `columns` holds what a budget gave a row or what the data
    says of it (`target`, `lo`, `hi`, `level`, `mode`, ...): nested tuples (P, G) of plain values.
    """

    prompt_ids: tuple[str, ...]  # P, stable across epochs and processes
    length_PG: Tensor  # int64, kept tokens
    correct_PG: Tensor  # float64: 1, 0, NaN unknown
    max_length: int  # L_max, `trainer.max_completion_length`, tokens
    step: int  # completed optimizer steps when the batch was sampled
    sampled_length_PG: Tensor  # int64, tokens before the truncation
    sampled_correct_PG: Tensor  # float64, verdict before the truncation
    truncated_PG: Tensor  # bool, stopped at the cap without EOS
    formatted_PG: Tensor  # bool, a readable answer
    think_tags_PG: Tensor  # bool, well formed
    answer_tags_PG: Tensor  # bool, well formed
    budget_PG: Tensor  # float64, tokens; NaN: none given
    grade_PG: Tensor  # float64, 0 to 1, of a graded verdict; NaN: it has no grade
    mean_logp_PG: Tensor | None = (
        None  # float64, mean token log-prob under the sampling policy; None: not known
    )
    columns: Mapping[str, tuple[tuple[Any, ...], ...]] = field(default_factory=dict)
    parts: Mapping[str, Tensor] = field(
        default_factory=dict
    )  # float64, what reward functions gave by name; NaN: None

    def __post_init__(self) -> None:
        shape = self.length_PG.shape
        if len(shape) != 2 or shape[0] != len(self.prompt_ids):
            raise ValueError(f"length_PG has shape {tuple(shape)}, expected ({len(self.prompt_ids)}, G)")
        for name, value in (
            *vars(self).items(),
            *((f"part_{name}_PG", part) for name, part in self.parts.items()),
        ):
            if name.endswith("_PG") and value is not None and value.shape != shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, expected {tuple(shape)}")

    @property
    def P(self) -> int:
        return self.length_PG.shape[0]

    @property
    def G(self) -> int:
        return self.length_PG.shape[1]

    @property
    def known_PG(self) -> Tensor:
        """bool (P, G): the verdict is known."""
        return ~self.correct_PG.isnan()

    @property
    def right_PG(self) -> Tensor:
        """bool (P, G): known to be correct."""
        return self.correct_PG > 0.5

    @property
    def wrong_PG(self) -> Tensor:
        """bool (P, G): known to be wrong."""
        return self.correct_PG <= 0.5

    @property
    def score_PG(self) -> Tensor:
        """float64 (P, G): the verdict's score from 0 to 1, which is 1 or 0 unless it is graded; NaN unknown."""
        return torch.where(self.grade_PG.isnan(), self.correct_PG, self.grade_PG)

    @property
    def tokens_PG(self) -> Tensor:
        """float64 (P, G): kept tokens, ready for arithmetic."""
        return self.length_PG.to(torch.float64)

    def column(self, name: str) -> Tensor:
        """A numeric column as float64 (P, G), NaN where a row has none."""
        if name not in self.columns:
            raise KeyError(f"the rows have no field {name!r}; a budget or the data must give it")
        rows = [[float("nan") if v is None else float(v) for v in group] for group in self.columns[name]]
        return torch.tensor(rows, dtype=torch.float64).reshape(self.P, self.G)

    def with_(self, **changes: Any) -> Rollouts:
        """A copy with some fields replaced."""
        return replace(self, **changes)


@dataclass(frozen=True)
class RewardResult:
    """Rewards of a generation batch, (P, G) in float64; NaN leaves a row out of everything.

    `parts` names its addends for the logs and for `advantage: decoupled`; none: the total is the one part.
    """

    total_PG: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    dropped: int = 0  # rows whose reward was not finite and was set to NaN (`guard.nonfinite=drop`)
