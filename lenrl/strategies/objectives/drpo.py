"""DRPO's objective: a log-likelihood score under a constraint on the KL."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lenrl.strategies.base import MicroBatch, Objective, RunInfo, StepTotals
from lenrl.strategies.loss_fields import LOSS_FIELDS


class DrpoObjective(Objective):
    """Log-likelihood weighted by the advantage, no ratio and no clip, with a squared hinge on the KL.

    `-mean_i A_i s_i + (beta / 2) max(0, K - delta)^2`: `s_i` the mean token log-prob of row i, the mean
    over all rows of the optimizer step, `K` the token mean of (old - new log-prob) over the whole step. The
    hinge's gradient is `beta max(0, K - delta) dK`, so a micro-batch needs only the value of K and its own
    log-probs.

    Source: "Decoupled Reward Policy Optimization", arXiv 2510.04474 (the constraint is a squared hinge
    there too).

    Degenerate cases: a row without kept tokens adds 0 and stays in the divisor; with one update a rollout K
    is 0 and the hinge idles. `kl_scope=micro_batch` takes each micro-batch's own K; its hinges are averaged by
    tokens. The loss's value is a surrogate: compare gradients.

    >>> logp = torch.tensor([[-1.0, -3.0], [-1.0, 0.0]])
    >>> mask = torch.tensor([[True, True], [True, False]])
    >>> batch = MicroBatch(logp, logp, mask, torch.tensor([1.0, -2.0]))
    >>> round(DrpoObjective()(batch, StepTotals(rows=2, tokens=3, kl_tokens=0, processes=1))[0].item(), 4)
    0.0
    """

    name = "drpo"
    refuses = LOSS_FIELDS

    beta: float = Field(default=1000.0, ge=0)
    delta: float = Field(default=1e-4, ge=0)  # nats a token
    kl_scope: Literal["optimizer_step", "micro_batch"] = "optimizer_step"

    @property
    def surveys(self) -> Literal["nothing", "drift", "tokens"]:
        return "drift" if self.beta > 0 and self.kl_scope == "optimizer_step" else "nothing"

    def needs_every_row(self, totals: StepTotals) -> bool:
        """The hinge, where it is at work, has a gradient in every row."""
        if self.beta == 0 or self.kl_scope == "micro_batch":
            return self.beta > 0
        return totals.kl_tokens / max(totals.tokens, 1.0) > self.delta

    def __call__(self, batch: MicroBatch, totals: StepTotals) -> tuple[Tensor, dict[str, float]]:
        mask = batch.mask_NT.to(batch.logp_NT.dtype)
        score = _score(batch, mask).sum() / totals.rows
        k, hinge = self._constraint(batch, totals, mask)
        loss = totals.processes * (hinge - score)
        return loss, {"drpo_kl": k, "drpo_hinge": float(max(0.0, k - self.delta))}

    def _constraint(self, batch: MicroBatch, totals: StepTotals, mask: Tensor) -> tuple[float, Tensor]:
        """K's value, and a term whose gradient is this micro-batch's share of the hinge's."""
        drift = torch.where(batch.mask_NT, batch.old_logp_NT - batch.logp_NT, 0.0).sum()  # with gradient
        if self.kl_scope == "optimizer_step":
            k = totals.kl_tokens / max(totals.tokens, 1.0)
            return k, self.beta * max(0.0, k - self.delta) * drift / max(totals.tokens, 1.0)
        own = drift / mask.sum().clamp(min=1.0)
        share = mask.sum() / max(totals.tokens, 1.0)  # rows that only fill the batch have no tokens
        return own.item(), share * self.beta / 2 * (own - self.delta).clamp(min=0.0).square()

    def warnings(self, run_info: RunInfo) -> list[str]:
        if self.beta > 0 and run_info.updates_per_rollout == 1:
            return ["objective 'drpo': with one update a rollout the KL is 0 and the constraint idles"]
        return []


def _score(batch: MicroBatch, mask: Tensor) -> Tensor:
    """(N,): advantage times mean token log-prob; 0 for rows without kept tokens."""
    advantage = batch.advantage_N if batch.advantage_N.dim() == 2 else batch.advantage_N[:, None]
    kept = torch.where(batch.mask_NT, batch.logp_NT, 0.0)  # padding may hold anything, NaN too
    return (advantage.to(kept.dtype) * kept).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
