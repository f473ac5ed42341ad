"""Choice of the next token from a model's logits: transformers' processors, then the largest or one by its noise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lenrl.errors import RunFailed
from lenrl.generation.noise import uniform

RULES = {"do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty"}
"""Fields of a `GenerationConfig` that say how a token is chosen, as far as `TokenRule` knows them."""
OTHERS = {"max_new_tokens", "pad_token_id", "bos_token_id", "eos_token_id", "disable_compile"}
"""Fields that say nothing about it."""


@dataclass(frozen=True)
class TokenRule:
    """The way a token is chosen from the logits."""

    greedy: bool = False
    temperature: float = 1.0
    top_k: int = 0  # 0 keeps everything
    top_p: float = 1.0  # 1 keeps everything
    min_p: float | None = None  # of the largest probability
    repetition_penalty: float = 1.0
    raw_logps: bool = False  # log-probs are those at temperature 1
    control: Callable[[], LogitsProcessor] | None = None  # makes what changes a batch's logits first of all

    @classmethod
    def of(cls, config: GenerationConfig) -> TokenRule | str:
        """The rule of a configuration for `generate`; else the names of the fields that are not known here."""
        fields = {name: value for name, value in config.to_diff_dict().items() if value is not None}
        if unknown := fields.keys() - RULES - OTHERS - {"transformers_version"}:
            return ", ".join(sorted(unknown))
        greedy = not fields.pop("do_sample", False)
        return cls(greedy, **{name: value for name, value in fields.items() if name in RULES})

    def processors(self) -> LogitsProcessorList:
        """transformers' processors, in the order of its `generate`."""
        found: list[LogitsProcessor] = [] if self.control is None else [self.control()]
        if self.repetition_penalty != 1:
            found.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        if self.greedy:
            return LogitsProcessorList(found)
        if self.temperature != 1:
            found.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            found.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            found.append(TopPLogitsWarper(self.top_p))
        if self.min_p is not None:
            found.append(MinPLogitsWarper(self.min_p))
        return LogitsProcessorList(found)


class TokenChoice:
    """Chooses the tokens of a batch's rows, one a row at each call.

    Args:
        tokens: calls at most.
        used: numbers of each row's noise that are used up; None: none.
    """

    def __init__(
        self, rule: TokenRule, keys: Sequence[int], tokens: int, used: Sequence[int] | None = None
    ) -> None:
        self._processors = rule.processors()
        self._uniform_NT = None if rule.greedy else uniform(keys, tokens, used)
        self._place = 0

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        if self._uniform_NT is not None:
            self._uniform_NT = self._uniform_NT[rows.cpu()]

    def __call__(self, ids_UT: Tensor, logits_UV: Tensor, of_N: Tensor | None = None) -> Tensor:
        """(N,) token ids.

        Args:
            ids_UT: different prefixes of the rows, which a repetition penalty counts.
            logits_UV: float32, left as they are.
            of_N: the prefix that each row has; None: each its own.

        Raises:
            RunFailed: the first call's logits are not numbers: their argmax would be an ordinary-looking id.
        """
        if self._place == 0 and not logits_UV.amax(-1).isfinite().all():  # amax hands NaN on
            raise RunFailed(
                "the model's logits are NaN or infinite, so its weights are broken; take another model, "
                "or an older checkpoint"
            )
        scores_UV = self._processors(cast(Any, ids_UT), cast(Any, logits_UV))
        self._place += 1
        if self._uniform_NT is None:
            token_U = scores_UV.argmax(-1)
            return token_U if of_N is None else token_U[of_N]
        return _drawn(scores_UV, of_N, self._uniform_NT[:, self._place - 1, None])


def _drawn(scores_UV: Tensor, of_N: Tensor | None, uniform_N1: Tensor) -> Tensor:
    """The tokens at which the rows' distribution functions reach their uniform numbers."""
    real = torch.float32 if scores_UV.device.type == "mps" else torch.float64
    cumulative_UV = scores_UV.to(real).softmax(-1).cumsum(-1)
    cumulative_NV = cumulative_UV if of_N is None else cumulative_UV[of_N]
    # Kept below the last sum, so that rounding can't push the draw past the last possible token.
    uniform_N1 = uniform_N1.to(scores_UV.device, real).clamp(max=1 - torch.finfo(real).eps)
    return torch.searchsorted(cumulative_NV, uniform_N1 * cumulative_NV[:, -1:], right=True).squeeze(1)


class GoesOn(LogitsProcessor):
    """Makes ids impossible as a batch's first token."""

    def __init__(self, ends: Collection[int]) -> None:
        self._ends: Collection[int] | None = ends

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ends, self._ends = self._ends, None
        if ends is None:
            return scores
        return scores.index_fill(-1, torch.tensor(sorted(ends), device=scores.device), float("-inf"))


class Chosen(LogitsProcessor):
    """A `TokenChoice` inside transformers' `generate`: all tokens but the chosen one are impossible."""

    def __init__(self, choice: TokenChoice) -> None:
        self.choice = choice

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        token_N = self.choice(input_ids, scores)
        return torch.full_like(scores, float("-inf")).scatter(-1, token_N[:, None], 0.0)
