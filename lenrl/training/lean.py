"""The rows of an optimizer step that its gradient needs, shared out again to its micro-batches. Knows no TRL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, cast

import torch
from torch import Tensor

from lenrl.strategies.base import Objective, StepTotals
from lenrl.training.distributed import ProcessGroup
from lenrl.training.trl_batch import TrlBatch, has_signal, loss_mask

Divisor = Literal["rows", "tokens", "step"]
"""A loss divides a micro-batch's sum by its rows, by its tokens, or by what is one for the whole step."""

DIVISORS: dict[str, Divisor] = {
    "grpo": "rows", "sapo": "rows", "dr_grpo": "rows", "luspo": "rows", "bnpo": "tokens",
    "dapo": "step", "cispo": "step", "vespo": "step",
}  # fmt: skip
"""Of TRL's losses, by `loss_type`. Each is homogeneous in a row's advantages: besides, only their signs count."""

ALL_TOKENS = {"beta": 0.0, "entropy_coef": 0.0, "use_adaptive_entropy": False, "top_entropy_quantile": 1.0}
"""Fields of TRL's configuration with the only value at which its loss has no term for rows without an advantage."""


def every_row_reason(objective: Objective, value_of: Callable[[str], Any]) -> str | None:
    """Why no step of a run may leave rows without an advantage out; None: they may.

    `value_of`: of a field of TRL's configuration.
    """
    if objective.adds_loss:
        return f"objective {objective.name!r} adds a term for every row"
    if objective.replaces_loss:
        needs = objective.needs_every_row(StepTotals(rows=1, tokens=1.0, kl_tokens=0.0, processes=1))
        return f"objective {objective.name!r} needs every row" if needs else None
    fields = [
        f"trainer.{name}={value_of(name)} gives them a gradient"
        for name, off in ALL_TOKENS.items()
        if value_of(name) != off
    ]
    return fields[0] if fields else None


def whole_batch_reason(config: Any, aux_loss: bool) -> str | None:
    """Why a model's log-probs must come from the whole padded micro-batch; None: chunks of it give the same.

    Args:
        config: the model's, of transformers.
        aux_loss: the loss has a term that balances the load of experts over the batch.
    """
    if aux_loss:
        return (
            "the router's auxiliary loss is over all tokens of a micro-batch (trainer.router_aux_loss_coef)"
        )
    config = config.get_text_config()
    rope = getattr(config, "rope_parameters", None)
    kinds = {
        part.get("rope_type") for part in ([rope, *rope.values()] if rope else []) if isinstance(part, dict)
    }
    if not rope or kinds & {"dynamic", "longrope"} or getattr(config, "attention_chunk_size", None):
        return f"the positions of a {config.model_type} model count the padding on the left"
    return None


@dataclass(frozen=True)
class LeanRows:
    """Shares out the rows with an advantage, those of similar lengths together.

    A row keeps its weight in the step's gradient wherever it goes: its advantages are scaled by the new divisor of its
    micro-batch over the old one.
    """

    group: ProcessGroup
    divisor: Divisor

    def share_out(self, batches: Sequence[TrlBatch]) -> list[TrlBatch]:
        """As many micro-batches, with the same gradient, of one size on all processes; collective.

        Args:
            batches: micro-batches of one optimizer step and of one pass over a rollout.
        """
        whole = _joined(batches)
        tokens_N = whole["prompt_mask"].sum(1) + whole["completion_mask"].sum(1)
        rows = torch.nonzero(has_signal(whole))[:, 0].cpu()
        length_N = tokens_N.cpu()
        order = rows[length_N[rows].argsort(stable=True)].tolist()
        parts = split(order, [int(length_N[row]) for row in order], len(batches))
        sizes = zip(*self.group.gather([[len(part) for part in parts]]), strict=True)
        shortest = int(length_N.argmin())
        divisor_N = torch.cat([self._divisor(batch).expand(len(batch["advantages"])) for batch in batches])
        return [
            self._part(whole, part, max(size), fill=shortest, divisor_N=divisor_N)
            for part, size in zip(parts, sizes, strict=True)
        ]

    def _divisor(self, batch: TrlBatch) -> Tensor:
        """float32 scalar, what the loss divides the sum over a micro-batch's rows by."""
        if self.divisor == "rows":
            return batch["advantages"].new_tensor(len(batch["advantages"]))
        if self.divisor == "tokens":
            return loss_mask(batch).sum().clamp(min=1).to(batch["advantages"].dtype)
        return batch["advantages"].new_tensor(1.0)

    def _part(self, whole: TrlBatch, rows: list[int], size: int, *, fill: int, divisor_N: Tensor) -> TrlBatch:
        """A micro-batch of rows of the step, filled up to `size` with a row without any token or figure."""
        count = len(divisor_N)
        index = torch.tensor(rows + [fill] * (max(1, size) - len(rows)), device=divisor_N.device)
        part: dict[str, object] = {**whole, "is_blank": size == 0}
        for key, value in whole.items():
            if _per_row(value, count):
                part[key] = taken = value[index]
                if key == "completion_mask" or taken.is_floating_point():
                    taken[len(rows) :] = 0
        batch = cast(TrlBatch, part)
        scale_N = self._divisor(batch) / divisor_N[index]
        advantages = batch["advantages"]
        batch["advantages"] = advantages * (scale_N if advantages.dim() == 1 else scale_N[:, None])
        return batch


def split(rows: Sequence[int], tokens: Sequence[int], parts: int) -> list[list[int]]:
    """Rows in so many runs of about as many tokens each; every part has a row if there are enough.

    >>> split([7, 8, 9, 5], [10, 10, 10, 30], 2), split([7], [3], 2)
    ([[7, 8, 9], [5]], [[7], []])
    """
    found: list[list[int]] = [[] for _ in range(parts)]
    total, before, part = sum(tokens), 0, 0
    for place, (row, count) in enumerate(zip(rows, tokens, strict=True)):
        over = before + count / 2 > total * (part + 1) / parts
        scarce = len(rows) - place <= parts - 1 - part  # one row for each part to come
        if found[part] and part + 1 < parts and (over or scarce):
            part += 1
        found[part].append(row)
        before += count
    return found


def _joined(batches: Sequence[TrlBatch]) -> TrlBatch:
    """Micro-batches of one rollout as one."""
    first = batches[0]
    count = len(first["advantages"])
    joined = {
        key: torch.cat([batch[key] for batch in batches]) if _per_row(value, count) else value
        for key, value in first.items()
    }
    return cast(TrlBatch, joined)


def _per_row(value: object, count: int) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.dim() > 0 and value.size(0) == count
