"""Format and length instead of labels."""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Forbidden, Reward, RunInfo


class Surrogate(Reward):
    """Pays a readable answer and a length near a peak; needs no gold answer.

    `x = min(1, L / horizon)`. `shape=quadratic`: `len = 1 - (1 - x/peak)^2` for `x <= peak`, else `1 - 2
    ((x - peak) / (1 - peak))^2`: 0 at 0, 1 at the peak, -1 at 1. `shape=polyline`: `2x` up to 0.5, then `3
    - 4x`. `r = w_format + w_think [think tags well formed] + len` if the format is right, else `min(0, len)`.

    Source: "Surrogate signals from format and length", arXiv 2505.19439; its logs used 0.5 for the format
    where the paper prints 1. Its code pays 0.5 for a `<think>` block too, which the paper's model does not write.

    Degenerate cases: truncated completions sit at the horizon and get -1, which is the signal: keep them in
    the loss. Declares `monotone_length`: up to the peak more tokens pay more.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> show(Surrogate()(GROUP))
    [[1.2381, 1.4995, 1.0678, -0.3169]]
    """

    name = "surrogate"
    reads_verdicts = False
    reads_format = True
    declares = ("monotone_length",)
    forbids = (
        Forbidden("mask_truncated_completions", True, "the -1 of truncated completions is the length signal"),
    )

    horizon: int | None = Field(default=None, gt=0)  # tokens; None: L_max
    peak: float = Field(default=0.5, gt=0, lt=1)  # share of the horizon
    w_format: float = Field(default=0.5, ge=0)
    w_think: float = Field(default=0.0, ge=0)
    shape: Literal["quadratic", "polyline"] = "quadratic"

    @model_validator(mode="after")
    def _polyline_peaks_at_half(self) -> Self:
        if self.shape == "polyline" and self.peak != 0.5:
            raise ValueError(
                f"peak={self.peak:g} with shape=polyline: its peak is at 0.5; drop peak or use quadratic"
            )
        return self

    def __call__(self, rollouts: Rollouts) -> Tensor:
        x = (rollouts.tokens_PG / (self.horizon or rollouts.max_length)).clamp(max=1.0)
        if self.shape == "polyline":
            length = torch.where(x <= 0.5, 2 * x, 3 - 4 * x)
        else:
            rise = 1 - (1 - x / self.peak).square()
            fall = 1 - 2 * ((x - self.peak) / (1 - self.peak)).square()
            length = torch.where(x <= self.peak, rise, fall)
        form = self.w_format + self.w_think * rollouts.think_tags_PG.double()
        return torch.where(rollouts.formatted_PG, form + length, length.clamp(max=0.0))

    def warnings(self, run_info: RunInfo) -> list[str]:
        best = self.peak * (self.horizon or run_info.max_length)
        return [
            f"reward 'surrogate' pays most at {best:g} tokens and lengthens completions shorter than that; "
            "for concise reasoning lower reward.peak or reward.horizon"
        ]
