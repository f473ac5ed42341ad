"""One generation batch, complete over all processes: all that a strategy may know.

Axes, as suffixes of tensor names:
    P   prompts (groups) of the generation batch, in batch order
    G   completions of one prompt (`trainer.num_generations`)
    T   tokens of a completion, right-padded
    N   rows, N = P * G, or a micro-batch's rows

Lengths are tokens, a generated EOS counted, padding never. Unknown is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lenrl.verdict import StepScore, Verdict

__all__ = ["RewardResult", "Rollouts", "StepScore", "Verdict"]


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
