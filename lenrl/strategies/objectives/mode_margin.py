"""A margin between the first tokens of long and of short thinking, added to TRL's loss."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from lenrl.errors import BadInput
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import MicroBatch, Objective, RunInfo, StepTotals


class ModeMargin(Objective):
    """Adds `coef max(0, margin - (z_good - z_bad))`, a mean over the rows, to TRL's loss.

    z are the logits, for the first token of a completion, of `long_token`, with which long thinking begins, and of
    `short_token`. Good is short in groups whose accuracy is at least `easy`, else long. The prompt is asked without the
    budget's words: they may name the mode.

    Source: Adaptive Deep Reasoning, arXiv 2505.20101; its form is known from summaries only, the constants are ours.

    Degenerate cases: rows of groups without a known verdict add 0 and stay in the mean.

    >>> logits = torch.tensor([[2.0, 1.0], [0.0, 1.5], [1.0, 0.5]], requires_grad=True)
    >>> batch = MicroBatch(torch.zeros(3, 1), torch.zeros(3, 1), torch.ones(3, 1).bool(), torch.zeros(3),
    ...                    rows={"short_is_good": torch.tensor([1.0, 1.0, -1.0])}, carried={"first_logits": logits})
    >>> rule = ModeMargin(long_token=0, short_token=1)
    >>> loss, figures = rule(batch, StepTotals(rows=3, tokens=3, kl_tokens=0, processes=1))
    >>> round(loss.item(), 6), figures["mode_margin"]
    (0.083333, 0.8333333134651184)
    """

    name = "mode_margin"
    replaces_loss = False
    adds_loss = True
    reads_batch = ("first_logits",)
    reads_verdicts = True
    as_reward = ("easy",)

    coef: float = Field(default=0.1, ge=0)
    margin: float = Field(default=1.0, ge=0)  # of logits
    easy: float = Field(default=0.5, ge=0, le=1)  # accuracy; as the reward's
    long_token: int | None = Field(default=None, ge=0)  # id of the token with which long thinking begins
    short_token: int | None = Field(default=None, ge=0)  # id of the token with which a short answer begins

    def row_values(self, rollouts: Rollouts, reward: RewardResult) -> Mapping[str, Tensor]:
        """1: short is good, -1: long is, 0: nobody knows."""
        accuracy = groups.mean(rollouts.right_PG.double(), rollouts.known_PG)
        short = torch.where(accuracy >= self.easy - 1e-9, 1.0, -1.0).masked_fill(accuracy.isnan(), 0.0)
        return {"short_is_good": short.expand_as(rollouts.correct_PG)}

    def __call__(self, batch: MicroBatch, totals: StepTotals) -> tuple[Tensor, dict[str, float]]:
        long, short = self._tokens(batch.first_logit_NV.size(1))
        lead_N = batch.first_logit_NV[:, short] - batch.first_logit_NV[:, long]
        sign_N = batch.rows["short_is_good"]
        hinge_N = sign_N.abs() * (self.margin - sign_N * lead_N).clamp(min=0.0)
        loss = self.coef * totals.processes * hinge_N.sum() / totals.rows
        figures = {
            "mode_margin": hinge_N.mean().item(),
            "mode_short_share": (lead_N > 0).double().mean().item(),
        }
        return loss, figures

    def _tokens(self, vocabulary: int) -> tuple[int, int]:
        """The ids of the two tokens, which the model has."""
        assert self.long_token is not None and self.short_token is not None
        for option in ("long_token", "short_token"):
            if getattr(self, option) >= vocabulary:
                raise BadInput(
                    f"objective.{option}={getattr(self, option)}: the model has {vocabulary} tokens, counted from 0"
                )
        return self.long_token, self.short_token

    def errors(self, run_info: RunInfo) -> list[str]:
        if self.long_token == self.short_token or None in (self.long_token, self.short_token):
            return [
                f"objective 'mode_margin' has long_token={self.long_token} and short_token={self.short_token}: set "
                "them to the ids of the tokens with which the model's long and short completions begin"
            ]
        return []

    def warnings(self, run_info: RunInfo) -> list[str]:
        return (
            ["objective 'mode_margin' with objective.coef=0 adds nothing to TRL's loss"]
            if not self.coef
            else []
        )
