"""What the update needs besides TRL's own: rollout-time log-probs, step totals, masks of cut completions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


def cut_output(output: dict[str, Any], kept_N: Tensor, pad_id: int) -> None:
    """Take the tokens after `kept_N` (N,) out of the masks and the ids of TRL's batch, in place."""
    positions = torch.arange(output["completion_ids"].size(1), device=kept_N.device)
    inside_NT = positions[None, :] < kept_N[:, None]
    output["completion_mask"] = output["completion_mask"] * inside_NT.to(output["completion_mask"].dtype)
    output["completion_ids"] = output["completion_ids"].masked_fill(~inside_NT, pad_id)


def loss_mask(inputs: dict[str, Any]) -> Tensor:
    """(N, T) mask of the tokens the loss sees."""
    mask = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask


def masked_mean(value_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """(N,) mean over the kept tokens in float64; 0 for a row without any."""
    mask = mask_NT.to(torch.float64)
    total = torch.where(mask_NT.bool(), value_NT.to(torch.float64), 0.0).sum(-1)
    return total / mask.sum(-1).clamp(min=1.0)


def as_wide_as(ids_NT: Tensor, advantage: Tensor) -> Tensor:
    """Advantages (N,), or (N, S) a token brought to the width T of this process's completions.

    A strategy sees the whole batch and may give more columns than one process's longest completion has; what
    lies past a completion is masked.
    """
    if advantage.dim() == 1:
        return advantage
    width = ids_NT.size(1)
    return pad(advantage[:, :width], (0, max(0, width - advantage.size(1))))


def useful_token_share(output: dict[str, Any], total: Callable[[Tensor], list[float]]) -> float:
    """Tokens of rows with an advantage over the tokens the update's forward computes, padding included.

    `total` sums over the processes.
    """
    rows = output["advantages"].size(0)
    signal_N = output["advantages"].reshape(rows, -1).ne(0).any(-1)
    tokens_N = output["prompt_mask"].sum(-1) + loss_mask(output).sum(-1)
    computed = rows * (output["prompt_ids"].size(1) + output["completion_ids"].size(1))
    useful = tokens_N[signal_N].sum()
    found, of = total(torch.stack([useful, torch.full_like(useful, computed)]).double())
    return found / of
