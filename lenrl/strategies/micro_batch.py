"""An objective's inputs: one micro-batch of the update, and sums over its optimizer step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from torch import Tensor

from lenrl.rollouts import NotCarried

BatchReadable = Literal["entropy", "token_ids", "ref_logps", "first_logits"]
"""Parts of a micro-batch that are there only where an objective's `reads_batch` names them."""

BATCH_READABLE: tuple[str, ...] = get_args(BatchReadable)


@dataclass(frozen=True)
class MicroBatch:
    """One micro-batch of the update: N rows, T completion tokens, right-padded.

    `carried` holds, by its name in `BATCH_READABLE`, what the objective's `reads_batch` names; it is read through the
    properties, which raise `NotCarried` for what it has not declared.
    """

    logp_NT: Tensor  # with gradient
    # Under the policy at rollout time; equal to logp_NT.detach() with one update a rollout
    old_logp_NT: Tensor
    mask_NT: Tensor  # bool, kept completion tokens
    advantage_N: Tensor  # (N,) or (N, T)
    rows: Mapping[str, Tensor] = field(
        default_factory=dict
    )  # (N,) or (N, T) float32, what `Objective.row_values` gave; 0 in rows that only fill the batch
    carried: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def entropy_NT(self) -> Tensor:
        """With gradient: entropies of the tokens' distributions at the sampling temperature, nats."""
        return self._read("entropy")

    @property
    def token_ids_NT(self) -> Tensor:
        """int64: the completions' token ids."""
        return self._read("token_ids")

    @property
    def ref_logp_NT(self) -> Tensor:
        """Log-probs under the reference model, which there is with `trainer.beta` above 0."""
        return self._read("ref_logps")

    @property
    def first_logit_NV(self) -> Tensor:
        """With gradient: logits over the V tokens, for the first token of a completion of the row's prompt without the
        budget's words. Costs a forward of the micro-batch's prompts."""
        return self._read("first_logits")

    def _read(self, name: BatchReadable) -> Tensor:
        if name not in self.carried:
            raise NotCarried(
                f"the micro-batch carries no {name!r}: declare reads_batch = ({name!r},) in the objective's class"
            )
        return self.carried[name]


@dataclass(frozen=True)
class StepTotals:
    """Sums over the whole optimizer step and all processes, for an objective."""

    rows: int  # rows of the optimizer step, all processes
    # Valid tokens of the optimizer step, all processes; where it spans several rollouts, the first one's for each
    tokens: float
    kl_tokens: float  # sum over those tokens of old log-prob minus new log-prob, at the step's start
    processes: int  # gradients are averaged over this many
    extra: Mapping[str, float] = field(default_factory=dict)  # what the objective's `survey` returned
    figures: Mapping[str, float] = field(
        default_factory=dict
    )  # for `Objective.updated`: means of the loss's figures over the step's micro-batches
