"""The loss of an optimizer step's micro-batches, and what they have in common. Knows no TRL."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace

import torch
from torch import Tensor

from lenrl.errors import RunFailed
from lenrl.strategies.base import MicroBatch, Objective, StepTotals
from lenrl.strategies.contract import objective_result
from lenrl.strategies.faults import calling, named
from lenrl.strategies.scoring import carry
from lenrl.training.distributed import ProcessGroup
from lenrl.training.lean import Divisor, LeanRows
from lenrl.training.trl_batch import TrlBatch, has_signal, loss_mask, masked_mean, row_values

Scored = tuple[Tensor, Tensor | None]
"""Log-probs and, where they are asked for, entropies of a batch's completion tokens, both (N, T)."""
LogProbs = Callable[[TrlBatch], Scored]


@dataclass(frozen=True)
class Forwards:
    """Parts that a micro-batch's loss can be made of; nothing is computed that is not called."""

    logps: LogProbs  # with gradient
    trl: Callable[[], tuple[Tensor, Scored]]  # TRL's own loss of the batch, and what it was computed from
    first_logits: Callable[[TrlBatch], Tensor]  # (N, V) with gradient


@dataclass
class PolicyUpdate:
    """One optimizer step after the other: `begin_step`, then `begin` once, `next` and `loss` for each micro-batch."""

    objective: Objective
    group: ProcessGroup
    _: KW_ONLY
    divisor: Divisor  # of TRL's own loss; where it is rows, rows of weight 0 must be taken out of it
    every_row: bool  # rows without an advantage stay in the update, whatever the objective allows
    begun: bool = field(default=False, init=False)  # the step has had its first micro-batch
    is_empty: bool = field(default=False, init=False)  # no group of the step is informative
    totals: StepTotals | None = field(default=None, init=False)
    # Of the step's micro-batches
    _figures: list[Mapping[str, float]] = field(default_factory=list, init=False)
    _moved: bool = field(default=True, init=False)  # the policy has, since the rollout
    _row_scale: float = field(default=1.0, init=False)
    _left: int = field(default=0, init=False)  # micro-batches of the step that `next` has not given
    _lean: list[TrlBatch] = field(default_factory=list, init=False)  # that it gives next
    # Of the step: useful, computed
    _tokens: Tensor = field(default_factory=lambda: torch.zeros(2), init=False)

    def begin_step(self) -> None:
        """An optimizer step begins: with its first micro-batch, or the first of the rest of an epoch."""
        self.begun, self.totals, self._lean, self._figures = False, None, [], []
        self._tokens = torch.zeros(2, dtype=torch.float64)

    def begin(self, window: Sequence[TrlBatch], logps: LogProbs, *, moved: bool = True) -> None:
        """Find what the step's micro-batches have in common.

        Args:
            logps: without gradient.
            moved: an optimizer step was taken since the rollout. Else an objective's old log-probs are the policy's
                own, exactly: those of another pass differ by rounding, and `kl_cov`'s `|logp - old|` by its sign.
        """
        self.begun, self._left, self._moved = True, len(window), moved
        if self.objective.computes_loss:
            self.totals = self._totals(window, logps)
        weights = [batch["row_weight"] for batch in window if "row_weight" in batch]
        if not weights:
            return
        rows = torch.tensor([sum(weight_N.numel() for weight_N in weights)], dtype=torch.float64)
        weighted = torch.stack([weight_N.sum().double().cpu() for weight_N in weights]).sum()[None]
        rows, weighted = self.group.sum(torch.cat([rows, weighted]).to(self.group.device))
        self.is_empty = weighted == 0
        self._row_scale = rows / weighted if self.divisor == "rows" and weighted else 1.0

    def next(self, rest: Sequence[TrlBatch]) -> TrlBatch:
        """The micro-batch to compute now: `rest[0]`, or in place of it others of its step's rows; collective.

        `rest`: the micro-batches that are left of this pass over a rollout.
        """
        if not self._lean:
            rest = rest[: self._left]
            self._lean = list(rest[:1]) if self._needs_every_row else self._rows.share_out(rest)
        self._left -= 1
        return self._lean.pop(0)

    @property
    def _needs_every_row(self) -> bool:
        if self.every_row or not self.objective.replaces_loss:
            return self.every_row
        assert self.totals is not None
        return self.objective.needs_every_row(self.totals)

    @property
    def _rows(self) -> LeanRows:
        return LeanRows(self.group, "step" if self.objective.replaces_loss else self.divisor)

    def count(self, ids_NL: Tensor) -> None:
        """Note that a forward pass of the update computes these tokens."""
        self._tokens[1] += ids_NL.numel()

    def step_tokens(self) -> tuple[int, int]:
        """Tokens of the step's rows with an advantage, and those that were computed; collective."""
        useful, computed = self.group.sum(self._tokens.to(self.group.device))
        return int(useful), int(computed)

    def loss(self, batch: TrlBatch, forwards: Forwards) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of a micro-batch, a scalar with gradient, and figures averaged over the processes."""
        if batch.get("is_blank"):  # nothing to average either
            return forwards.logps(batch)[0].sum() * 0.0, {}
        tokens_N = batch["prompt_mask"].sum(1) + loss_mask(batch).sum(1)
        self._tokens[0] += tokens_N[has_signal(batch)].sum().cpu()
        if self.objective.replaces_loss:
            scored = forwards.logps(batch)
            loss, figures = self._own(batch, scored, forwards)
            assert scored[1] is not None
            entropy_N = masked_mean(scored[1].detach(), loss_mask(batch))
            return loss, self._averaged({"entropy": entropy_N.mean().item(), **figures})
        loss, scored = forwards.trl()
        loss = loss * self._row_scale
        if not self.objective.adds_loss:
            return loss, {}
        term, figures = self._own(batch, scored, forwards)
        return loss + term, self._averaged(figures)

    def _own(self, batch: TrlBatch, scored: Scored, forwards: Forwards) -> tuple[Tensor, Mapping[str, float]]:
        """The objective's loss or term of a micro-batch, and its figures on this process."""
        assert self.totals is not None
        carried = carry(
            self.objective.reads_batch,
            entropy=lambda: scored[1],
            token_ids=lambda: batch["completion_ids"],
            ref_logps=lambda: batch["ref_per_token_logps"],  # pyright: ignore[reportTypedDictNotRequiredAccess]
            first_logits=lambda: forwards.first_logits(batch),
        )
        with calling(self.objective):
            output = self.objective(self._micro_batch(batch, scored[0], carried), self.totals)
        return objective_result(named(self.objective), output)

    def _averaged(self, figures: Mapping[str, float]) -> Mapping[str, float]:
        """Figures averaged over the processes, and kept for the end of the step."""
        values = torch.tensor(list(figures.values()), dtype=torch.float64, device=self.group.device)
        sums = self.group.sum(values) if figures else []
        means = {name: total / self.group.processes for name, total in zip(figures, sums, strict=True)}
        self._figures.append(means)
        return means

    def ended(self) -> StepTotals | None:
        """The totals of the step that has ended, with its mean figures; None: no objective has computed anything."""
        if self.totals is None or not self._figures:
            return None
        names = dict.fromkeys(name for figures in self._figures for name in figures)
        values = {name: [figures[name] for figures in self._figures if name in figures] for name in names}
        return replace(
            self.totals, figures={name: sum(of_name) / len(of_name) for name, of_name in values.items()}
        )

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
            drifted = objective.surveys == "drift" and self._moved and "old_per_token_logps" in batch
            if objective.surveys == "tokens" or drifted:
                logp_NT = logps(batch)[0]
                micro_batch = self._micro_batch(batch, logp_NT)
                drift_NT = micro_batch.old_logp_NT - logp_NT
                sums[2] += torch.where(micro_batch.mask_NT, drift_NT, 0.0).to(torch.float64).sum()
                surveyed.append(micro_batch)
        rows, tokens, kl_tokens = self.group.sum(sums)
        with calling(objective):
            extra = objective.survey(surveyed, self.group.gather_flat) if surveyed else {}
        return StepTotals(max(1, int(rows)), tokens, kl_tokens, self.group.processes, extra)

    def _micro_batch(
        self, batch: TrlBatch, logp_NT: Tensor, carried: Mapping[str, Tensor] | None = None
    ) -> MicroBatch:
        """A strategy's view of a batch, whose log-probs were `logp_NT` if the policy has not moved."""
        old_NT = batch.get("old_per_token_logps") if self._moved else None
        old_NT = logp_NT.detach() if old_NT is None else old_NT
        mask_NT = loss_mask(batch).bool()
        return MicroBatch(logp_NT, old_NT, mask_NT, batch["advantages"], row_values(batch), carried or {})


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
