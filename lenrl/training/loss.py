"""The loss of an optimizer step's micro-batches, and what they have in common. Knows no TRL."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor

from lenrl.errors import RunFailed
from lenrl.strategies.base import MicroBatch, Objective, StepTotals
from lenrl.training.distributed import ProcessGroup
from lenrl.training.trl_batch import TrlBatch, loss_mask, masked_mean

LogProbs = Callable[[TrlBatch], tuple[Tensor, Tensor | None]]
"""Log-probs and, where they are asked for, entropies of a batch's completion tokens, both (N, T)."""


@dataclass
class PolicyUpdate:
    """One optimizer step after the other: `begin_step`, then `begin` once, and `loss` for each micro-batch."""

    objective: Objective
    group: ProcessGroup
    _: KW_ONLY
    by_rows: bool  # TRL's own loss divides by rows: rows of weight 0 must be taken out of the divisor
    begun: bool = field(default=False, init=False)  # the step has had its first micro-batch
    is_empty: bool = field(default=False, init=False)  # no group of the step is informative
    totals: StepTotals | None = field(default=None, init=False)
    _row_scale: float = field(default=1.0, init=False)

    def begin_step(self) -> None:
        """An optimizer step begins: with its first micro-batch, or the first of the rest of an epoch."""
        self.begun, self.totals = False, None

    def begin(self, window: Sequence[TrlBatch], logps: LogProbs) -> None:
        """Find what the step's micro-batches, `window`, have in common; `logps` are without gradient."""
        self.begun = True
        if self.objective.replaces_loss:
            self.totals = self._totals(window, logps)
        weights = [batch["row_weight"] for batch in window if "row_weight" in batch]
        if not weights:
            return
        rows = torch.tensor([sum(weight_N.numel() for weight_N in weights)], dtype=torch.float64)
        weighted = torch.stack([weight_N.sum().double().cpu() for weight_N in weights]).sum()[None]
        rows, weighted = self.group.sum(torch.cat([rows, weighted]).to(self.group.device))
        self.is_empty = weighted == 0
        self._row_scale = rows / weighted if self.by_rows and weighted else 1.0

    def loss(
        self, batch: TrlBatch, *, logps: LogProbs, trl: Callable[[], Tensor]
    ) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of a micro-batch, a scalar with gradient, and figures averaged over the processes.

        `logps` gives log-probs with gradient and entropies, `trl` TRL's own loss of the batch.
        """
        if not self.objective.replaces_loss:
            return trl() * self._row_scale, {}
        assert self.totals is not None
        logp_NT, entropy_NT = logps(batch)
        assert entropy_NT is not None
        mask_NT = loss_mask(batch)
        loss, metrics = self.objective(_micro_batch(batch, logp_NT, logp_NT.detach()), self.totals)
        figures = {"entropy": masked_mean(entropy_NT.detach(), mask_NT).mean().item(), **metrics}
        sums = self.group.sum(torch.tensor(list(figures.values()), dtype=torch.float64, device=loss.device))
        return loss, {name: total / self.group.processes for name, total in zip(figures, sums, strict=True)}

    def _totals(self, window: Sequence[TrlBatch], logps: LogProbs) -> StepTotals:
        """Totals over an optimizer step, with one pass without gradient where the objective needs it."""
        objective = self.objective
        sums = torch.zeros(3, dtype=torch.float64, device=self.group.device)
        surveyed = []
        for batch in window:
            mask = loss_mask(batch)
            sums[0] += batch["row_weight"].sum() if "row_weight" in batch else mask.size(0)
            sums[1] += mask.sum()
            # Without old log-probs one update follows one rollout: nothing has drifted, K is 0.
            drifted = objective.surveys == "drift" and "old_per_token_logps" in batch
            if objective.surveys == "tokens" or drifted:
                logp_NT = logps(batch)[0]
                micro_batch = _micro_batch(batch, logp_NT, logp_NT)
                drift_NT = micro_batch.old_logp_NT - logp_NT
                sums[2] += torch.where(micro_batch.mask_NT, drift_NT, 0.0).to(torch.float64).sum()
                surveyed.append(micro_batch)
        rows, tokens, kl_tokens = self.group.sum(sums)
        extra = objective.survey(surveyed, self.group.gather_flat) if surveyed else {}
        return StepTotals(max(1, int(rows)), tokens, kl_tokens, self.group.processes, extra)


def _micro_batch(batch: TrlBatch, logp_NT: Tensor, old_NT: Tensor) -> MicroBatch:
    """A strategy's view of a batch; `old_NT` stands in where it has no log-probs of its sampling."""
    old_NT = batch.get("old_per_token_logps", old_NT)
    return MicroBatch(logp_NT, old_NT, loss_mask(batch).bool(), batch["advantages"])


def check_loss(loss: Tensor, step: int) -> Tensor:
    """The loss of optimizer step `step`, counted from 1.

    Raises:
        RunFailed: it is not finite.
    """
    if bool(torch.isfinite(loss.detach())):
        return loss
    raise RunFailed(
        f"the loss is {loss.item()} at optimizer step {step}: log-probs or advantages "
        "are not finite. The step was not taken; lower the learning rate or use float32, and resume."
    )


def check_gradient(norm: float, step: int, *, taken: bool) -> None:
    """Refuse a gradient of optimizer step `step`, counted from 1; `taken`: the optimizer has used it.

    Raises:
        RunFailed: its norm is not finite.
    """
    if math.isfinite(norm):
        return
    fate = "DeepSpeed took the step, but it is in no checkpoint" if taken else "The step was not taken"
    raise RunFailed(
        f"the gradient's norm is {norm} at optimizer step {step}. {fate}; lower the learning rate or use "
        "float32, and resume."
    )
