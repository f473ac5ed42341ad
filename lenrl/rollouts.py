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
from functools import reduce
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lenrl.errors import BadInput, RunFailed, shown
from lenrl.verdicts import StepScore, Verdict

__all__ = ["READABLE", "NotCarried", "Readable", "RewardResult", "Rollouts", "StepScore", "Verdict"]

Readable = Literal[
    "prompt", "text", "token_ids", "answer", "gold", "steps", "step_numbers", "logps", "teacher_logps"
]
"""Parts of the record that are carried only where a strategy's `reads` names them: they cost memory and time."""

READABLE: tuple[str, ...] = get_args(Readable)


class NotCarried(RunFailed):
    """A strategy reads a part of the record that its `reads` does not name."""


@dataclass(frozen=True)
class Rollouts:
    """A generation batch of P prompts with G completions each, after the truncation.

    Strategies read it and never write to it. `columns` holds what a budget gave a row or what the data
    says of it (`target`, `lo`, `hi`, `level`, `mode`, ...): nested tuples (P, G) of plain values.
    `carried` holds, by its name in `READABLE`, what the strategies' `reads` name, of the kept part of each completion;
    it is read through the properties `prompt_P`, `gold_P`, `text_PG`, `token_ids_PG`, `answer_PG`, `steps_PG`,
    `step_PGT`, `logp_PGT` and `teacher_logp_PGT`, which raise `NotCarried` for what nobody has declared.
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
    # Float64, mean token log-prob under the sampling policy; None: not known
    mean_logp_PG: Tensor | None = None
    columns: Mapping[str, tuple[tuple[Any, ...], ...]] = field(default_factory=dict)
    # Float64, what reward functions gave by name; NaN: None
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    carried: Mapping[str, Any] = field(default_factory=dict)

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
        """A numeric column as float64 (P, G), NaN where a row has none.

        Raises:
            BadInput: the rows have no such field, or one has no number there.
        """
        if name not in self.columns:
            raise BadInput(f"the rows have no field {name!r}; a budget or the data must give it")
        rows = [
            [_number(name, prompt, value) for value in group]
            for prompt, group in zip(self.prompt_ids, self.columns[name], strict=True)
        ]
        return torch.tensor(rows, dtype=torch.float64).reshape(self.P, self.G)

    @property
    def prompt_P(self) -> tuple[str, ...]:
        """The problems' texts, as the data has them: without template, hint and system prompt."""
        return self._read("prompt")

    @property
    def gold_P(self) -> tuple[str | None, ...]:
        """The gold answers; None where the data has none."""
        return self._read("gold")

    @property
    def text_PG(self) -> tuple[tuple[str, ...], ...]:
        """The completions' texts without EOS; special tokens are kept."""
        return self._read("text")

    @property
    def token_ids_PG(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """The completions' token ids, `length_PG` each, a generated EOS counted."""
        return self._read("token_ids")

    @property
    def answer_PG(self) -> tuple[tuple[str | None, ...], ...]:
        """The extracted answers, long ones shortened to 200 characters; None where a completion gives none."""
        return self._read("answer")

    @property
    def steps_PG(self) -> tuple[tuple[tuple[StepScore, ...], ...], ...]:
        """Scores of the completions' reasoning steps, each with its end in tokens; empty: the verifier gave none."""
        return self._read("steps")

    @property
    def logp_PGT(self) -> Tensor:
        """float32 (P, G, T): log-probs of the tokens under the sampling policy, T the longest; NaN past `length_PG`."""
        return self._read("logps")

    @property
    def step_PGT(self) -> Tensor:
        """int16 (P, G, T): number of each token's step of thinking, from 0; -1 outside and past `length_PG`.

        A step ends where the advantage's `step_end` does; a completion that is cut keeps the numbers of its kept part.
        """
        return self._read("step_numbers")

    @property
    def teacher_logp_PGT(self) -> Tensor:
        """float32 (P, G, T): log-probs of the tokens under the advantage's teacher, at the sampling
        temperature; NaN past `length_PG`, and in completions that do not fit the teacher's context."""
        return self._read("teacher_logps")

    def _read(self, name: Readable) -> Any:
        if name not in self.carried:
            raise NotCarried(
                f"the rollouts carry no {name!r}: declare reads = ({name!r},) in the strategy's class"
            )
        return self.carried[name]

    def with_(self, **changes: Any) -> Rollouts:
        """A copy with some fields replaced."""
        return replace(self, **changes)


def _number(column: str, prompt: str, value: Any) -> float:
    try:
        return float("nan") if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadInput(
            f"field {column!r} of prompt {prompt!r} is {shown(value)}: must be a number, or left out"
        ) from None


@dataclass(frozen=True)
class RewardResult:
    """Rewards of a generation batch, (P, G) in float64; NaN leaves a row out of everything.

    `parts` names its addends for the logs and for `advantage: decoupled`; none: the total is the one part.
    `token_PGT` says at which tokens the total was earned, NaN where a token has no reward; None: nobody knows.
    """

    total_PG: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    dropped: int = 0  # rows whose reward was not finite and was set to NaN (`guard.nonfinite=drop`)
    token_PGT: Tensor | None = None  # float64 (P, G, T), NaN past the kept tokens; sums to `total_PG`

    @classmethod
    def of_parts(cls, **parts: Tensor) -> RewardResult:
        """The sum of its parts (P, G), by name."""
        return cls(reduce(torch.add, parts.values()), parts)

    @classmethod
    def of_tokens(cls, token_PGT: Tensor, parts: Mapping[str, Tensor] | None = None) -> RewardResult:
        """Rewards of tokens (P, G, T), NaN where a token has none; a row's total is their sum, 0 without any."""
        token_PGT = token_PGT.to(torch.float64)
        return cls(token_PGT.nansum(dim=2), parts or {}, token_PGT=token_PGT)

    def apart(self, name: str) -> tuple[Tensor, Tensor | None]:
        """The sum of `correct` and all other parts but `name`, and that part; without the two, the total and None."""
        if not {"correct", name} <= set(self.parts):
            return self.total_PG, None
        others = [part for other, part in self.parts.items() if other != name]
        return torch.stack(others).sum(dim=0), self.parts[name]
