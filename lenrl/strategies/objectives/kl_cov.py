"""KL-Cov: a KL penalty on the tokens that drive entropy down."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lenrl.strategies.base import MicroBatch, Objective, RunInfo, StepTotals
from lenrl.strategies.loss_fields import LOSS_FIELDS


class KlCov(Objective):
    """Policy gradient without clipping, and `coef |logp - logp_old|` on the tokens of highest covariance.

    Token loss `-A exp(logp - logp_old)`; among the scope's N valid tokens the `max(1, floor(ratio N))` with
    the largest `(A - mean A)(logp - mean logp)` (detached) get the penalty; token mean in each row, then
    mean over rows.

    Source: "The Entropy Mechanism", arXiv 2505.22617; used by DOT, arXiv 2601.03969.

    Degenerate cases: with one update a rollout the penalty is inert (its gradient at equal log-probs is 0);
    where all tokens of the scope have one advantage every covariance is 0, and none is chosen: `A - mean A` would be
    rounding noise, and the choice arbitrary (the released code makes it); ties go by batch order, across
    micro-batches (`scope=optimizer_step`) all tokens at the threshold are taken; rows without kept tokens add 0. Rows
    of advantage 0 count among the N.

    >>> logp = torch.tensor([[-1.0], [-2.0]])
    >>> batch = MicroBatch(logp, logp - 0.5, torch.tensor([[True], [True]]), torch.tensor([1.0, -1.0]))
    >>> loss, metrics = KlCov()(batch, StepTotals(rows=2, tokens=2, kl_tokens=0, processes=1))
    >>> round(loss.item(), 4), metrics
    (0.25, {'kl_cov_share': 0.5, 'kl_cov_idle': 0.0})
    """

    name = "kl_cov"
    refuses = LOSS_FIELDS

    ratio: float = Field(default=0.002, gt=0, le=1)  # share of the valid tokens
    coef: float = Field(default=1.0, ge=0)
    scope: Literal["micro_batch", "optimizer_step"] = "micro_batch"

    @property
    def surveys(self) -> Literal["nothing", "drift", "tokens"]:
        return "tokens" if self.coef > 0 and self.scope == "optimizer_step" else "nothing"

    def __call__(self, batch: MicroBatch, totals: StepTotals) -> tuple[Tensor, dict[str, float]]:
        mask = batch.mask_NT
        gap = torch.where(mask, batch.logp_NT - batch.old_logp_NT, 0.0)
        advantage = advantages(batch)
        chosen = self._chosen(batch, advantage, totals)
        token = -advantage * gap.exp() + self.coef * chosen * gap.abs()
        row = (token * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        loss = totals.processes * row.sum() / totals.rows
        share = chosen.sum().item() / max(1, int(mask.sum()))
        idle = self.coef == 0 or not bool(gap[chosen].any())  # at equal log-probs |x| has no gradient
        return loss, {"kl_cov_share": share, "kl_cov_idle": float(idle)}

    def survey(
        self, batches: Sequence[MicroBatch], gather: Callable[[Tensor], Tensor]
    ) -> Mapping[str, float]:
        """Means and threshold over all valid tokens of the step: what `scope=optimizer_step` selects by."""
        logp = gather(_flat([batch.logp_NT[batch.mask_NT] for batch in batches]))
        advantage = gather(_flat([advantages(batch)[batch.mask_NT] for batch in batches]))
        if logp.numel() == 0 or not _differ(advantage):
            return {"logp_mean": 0.0, "advantage_mean": 0.0, "threshold": float("inf")}
        cov = (advantage - advantage.mean()) * (logp - logp.mean())
        threshold = cov.topk(self._count(cov.numel())).values[-1]
        return {
            "logp_mean": logp.mean().item(),
            "advantage_mean": advantage.mean().item(),
            "threshold": threshold.item(),
        }

    def _chosen(self, batch: MicroBatch, advantage: Tensor, totals: StepTotals) -> Tensor:
        """bool (N, T): the tokens that get the penalty."""
        logp, advantage = batch.logp_NT.detach().double(), advantage.double()
        chosen = torch.zeros_like(batch.mask_NT)
        if self.coef == 0:  # nothing was surveyed
            return chosen
        if self.scope == "optimizer_step":
            centred = (advantage - totals.extra["advantage_mean"]) * (logp - totals.extra["logp_mean"])
            return batch.mask_NT & (centred >= totals.extra["threshold"] - 1e-12)
        valid = batch.mask_NT
        if not _differ(advantage[valid]):
            return chosen
        cov = (advantage[valid] - advantage[valid].mean()) * (logp[valid] - logp[valid].mean())
        top = torch.argsort(cov, descending=True, stable=True)[: self._count(cov.numel())]
        picked = torch.zeros_like(cov, dtype=torch.bool)
        picked[top] = True
        chosen[valid] = picked
        return chosen

    def _count(self, tokens: int) -> int:
        return max(1, int(self.ratio * tokens + 1e-9))

    def errors(self, run_info: RunInfo) -> list[str]:
        if self.scope == "optimizer_step" or run_info.micro_batch_rows != 1 or self.coef == 0:
            return []
        return [
            "objective 'kl_cov' with objective.scope=micro_batch and one row a micro-batch: all its tokens have one "
            "advantage, so that no token has a covariance and none is penalised; set objective.scope=optimizer_step"
        ]

    def warnings(self, run_info: RunInfo) -> list[str]:
        messages, rows, size = [], run_info.micro_batch_rows, run_info.num_generations
        if self.scope == "micro_batch" and rows is not None and size is not None and rows < size:
            messages.append(
                f"objective 'kl_cov': micro-batches of {rows} rows, fewer than a group's {size}, may hold only one "
                "advantage, and then penalise no token; objective.scope=optimizer_step compares the whole step's tokens"
            )
        if run_info.updates_per_rollout == 1:
            messages.append(
                "objective 'kl_cov' is inert at one update a rollout: log-probs and old log-probs are equal and "
                "the penalty has no gradient; set steps_per_generation to 4 times gradient_accumulation_steps"
            )
        return messages


def advantages(batch: MicroBatch) -> Tensor:
    """(N, T): the advantage of every token."""
    a = batch.advantage_N
    return a if a.dim() == 2 else a[:, None].expand_as(batch.mask_NT)


def _differ(advantage: Tensor) -> bool:
    """Two tokens have different advantages."""
    return advantage.numel() > 0 and bool(advantage.min() < advantage.max())


def _flat(pieces: Sequence[Tensor]) -> Tensor:
    return torch.cat([piece.detach().double() for piece in pieces]) if pieces else torch.zeros(0).double()
