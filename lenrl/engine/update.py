"""What the update needs besides TRL's own: rollout-time log-probs, step totals, masks of cut completions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
