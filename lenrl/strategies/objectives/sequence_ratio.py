"""A clipped ratio of whole completions, of which the first tokens may have been forced."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import MicroBatch, Objective, StepTotals
from lenrl.strategies.loss_fields import LOSS_FIELDS


class SequenceRatio(Objective):
    """`-mean_i min(k_i A_i, clip(k_i, 1 - eps, 1 + eps) A_i)`, `k_i` the mean-token ratio of new to old policy.

    `k_i = exp(mean_t (log pi - log pi_old))` over the row's kept tokens. Tokens that a budget forced were sampled by
    the forcing: log pi_old of the first is the log of its mode's share (row field `forced_share`), of others 0. The
    mean is over all rows of the optimizer step. No KL term.

    Source: AdaptThink, arXiv 2505.13417, in the form of its code, which divides by a row's length: the switch's signal
    is weak in long rows.

    Degenerate cases: a row without kept tokens adds 0 and stays in the mean.

    >>> logp = torch.tensor([[-1.0, -0.5]], requires_grad=True)
    >>> batch = MicroBatch(logp, torch.tensor([[0.0, -0.6]]), torch.ones(1, 2).bool(), torch.tensor([1.0]),
    ...                    rows={"forced": torch.tensor([1.0]), "forced_logp": torch.tensor([0.5]).log()})
    >>> loss, _ = SequenceRatio()(batch, StepTotals(rows=1, tokens=2, kl_tokens=0, processes=1))
    >>> loss.backward(); round(loss.item(), 6), round(logp.grad[0, 0].item(), 6)
    (-0.901742, -0.450871)
    """

    name = "sequence_ratio"
    refuses = LOSS_FIELDS

    eps: float = Field(default=0.2, gt=0, lt=1)

    def row_values(self, rollouts: Rollouts, reward: RewardResult) -> Mapping[str, Tensor]:
        """The number of forced tokens, and the log-prob of having been forced."""
        if not {"forced_tokens", "forced_share"} <= rollouts.columns.keys():
            return {
                "forced": torch.zeros_like(rollouts.tokens_PG),
                "forced_logp": torch.zeros_like(rollouts.tokens_PG),
            }
        share_PG = rollouts.column("forced_share").nan_to_num(nan=1.0)
        return {"forced": rollouts.column("forced_tokens").nan_to_num(), "forced_logp": share_PG.log()}

    def needs_every_row(self, totals: StepTotals) -> bool:
        """A row without an advantage adds nothing."""
        return False

    def __call__(self, batch: MicroBatch, totals: StepTotals) -> tuple[Tensor, dict[str, float]]:
        ratio_N = _log_ratio(batch).exp()
        advantage_N = batch.advantage_N.to(ratio_N.dtype)
        clipped_N = ratio_N.clamp(1 - self.eps, 1 + self.eps)
        kept_N = batch.mask_NT.any(dim=1)
        gain_N = torch.where(kept_N, torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N), 0.0)
        outside_N = kept_N & (ratio_N != clipped_N)
        figures = {
            "clip_ratio_low": (outside_N & (advantage_N < 0)).double().mean().item(),
            "clip_ratio_high": (outside_N & (advantage_N > 0)).double().mean().item(),
        }
        return -totals.processes * gain_N.sum() / totals.rows, figures


def _log_ratio(batch: MicroBatch) -> Tensor:
    """(N,): mean over the kept tokens of log pi - log pi_old."""
    old_NT = batch.old_logp_NT
    if batch.rows:
        places_T = torch.arange(old_NT.shape[1], device=old_NT.device)
        old_NT = torch.where(places_T < batch.rows["forced"][:, None], 0.0, old_NT)
        first_NT = (places_T == 0) & (batch.rows["forced"][:, None] > 0)
        old_NT = torch.where(first_NT, batch.rows["forced_logp"][:, None].to(old_NT.dtype), old_NT)
    change_NT = torch.where(batch.mask_NT, batch.logp_NT - old_NT, 0.0)
    return change_NT.sum(dim=1) / batch.mask_NT.sum(dim=1).clamp(min=1)
