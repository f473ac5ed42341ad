"""The batch that passes between TRL and lenrl, and arithmetic on it. N rows, S prompt and T completion tokens."""

from typing import NotRequired, TypedDict, cast

import torch
from torch import Tensor
from torch.nn.functional import pad


class TrlRow(TypedDict):
    """A row of the data set, as TRL's data loader hands it over; a group's G rows are equal and adjacent."""

    prompt_id: str
    prompt: str | list[dict[str, str]]  # text, or messages where the tokenizer has a chat template


class TrlBatch(TypedDict):
    """A process's rows, as `_generate_and_score_completions` returns them and `_compute_loss` gets them in parts."""

    prompt_ids: Tensor  # (N, S) int64, padded on the left
    prompt_mask: Tensor  # (N, S) int64, 1: a token
    completion_ids: Tensor  # (N, T) int64, padded on the right
    completion_mask: Tensor  # (N, T) int64, 1: a token, EOS counted
    advantages: Tensor  # (N,) float32, or (N, T) where a strategy gives one a token
    num_items_in_batch: Tensor  # scalar: tokens in the loss, of the generation batch over all processes
    old_per_token_logps: NotRequired[Tensor]  # (N, T) of the policy that sampled, if a rollout is reused
    ref_per_token_logps: NotRequired[Tensor]  # (N, T) under the reference model, with `beta`
    sampling_per_token_logps: NotRequired[Tensor]  # (N, T) as vLLM gave them
    importance_sampling_ratio: NotRequired[Tensor]  # (N, T) or (N, 1), with vLLM
    tool_mask: NotRequired[Tensor]  # (N, T) int64, 0: a tool's token, not the policy's
    is_blank: NotRequired[bool]  # lenrl's: no process has a token in the loss
    row_weight: NotRequired[Tensor]  # (N,) float32, lenrl's: 0 for a row that fills the batch, else 1
    # (N, S) int64, lenrl's: prompts without the budget's words, as prompt_ids
    bare_prompt_ids: NotRequired[Tensor]
    bare_prompt_mask: NotRequired[Tensor]  # (N, S) int64


ROW_VALUE = "row_value_"  # begins the key of what an objective reads of each row, (N,) or (N, T) float32


def row_values(batch: TrlBatch) -> dict[str, Tensor]:
    """Numbers that an objective reads of each row, by name."""
    values = cast(dict[str, Tensor], batch)
    return {key.removeprefix(ROW_VALUE): values[key] for key in values if key.startswith(ROW_VALUE)}


def loss_mask(batch: TrlBatch) -> Tensor:
    """(N, T) mask of the tokens the loss sees."""
    mask = batch["completion_mask"]
    return mask * batch["tool_mask"] if "tool_mask" in batch else mask


def masked_mean(value_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """(N,) mean over the kept tokens in float64; 0 for a row without any."""
    mask = mask_NT.to(torch.float64)
    total = torch.where(mask_NT.bool(), value_NT.to(torch.float64), 0.0).sum(-1)
    return total / mask.sum(-1).clamp(min=1.0)


def logp_gap(batch: TrlBatch) -> Tensor:
    """(2,) float64: sum of `|old - sampling|` log-probs over the loss's tokens that were scored, and their number.

    Both must be in the batch.
    """
    assert "old_per_token_logps" in batch and "sampling_per_token_logps" in batch
    gap_NT = (batch["old_per_token_logps"] - batch["sampling_per_token_logps"]).abs().double()
    scored_NT = loss_mask(batch).bool() & ~gap_NT.isnan()
    return torch.stack([torch.where(scored_NT, gap_NT, 0.0).sum(), scored_NT.sum().double()])


def cut(batch: TrlBatch, kept_N: Tensor, pad_id: int) -> TrlBatch:
    """The batch without the tokens after `kept_N` (N,): they leave the mask, ids and ratios are padding there."""
    mask = batch["completion_mask"]
    positions = torch.arange(mask.size(1), device=kept_N.device)
    inside_NT = positions[None, :] < kept_N[:, None]
    parts: dict[str, Tensor] = {
        "completion_mask": mask * inside_NT.to(mask.dtype),
        "completion_ids": batch["completion_ids"].masked_fill(~inside_NT, pad_id),
    }
    ratio = batch.get("importance_sampling_ratio")
    if ratio is not None and ratio.size(1) == mask.size(1):  # a number a token; TRL's padding is 1
        parts["importance_sampling_ratio"] = ratio.masked_fill(~inside_NT, 1.0)
    return cast(TrlBatch, {**batch, **parts})


def as_wide_as(ids_NT: Tensor, advantage: Tensor) -> Tensor:
    """Advantages (N,), or (N, any) a token brought to the width T of this process's completions.

    A strategy sees the whole batch and may give more columns than one process's longest completion has; what
    lies past a completion is masked.
    """
    if advantage.dim() == 1:
        return advantage
    width = ids_NT.size(1)
    return pad(advantage[:, :width], (0, max(0, width - advantage.size(1))))


def has_signal(batch: TrlBatch) -> Tensor:
    """bool (N,): rows with an advantage on a token that the loss sees."""
    advantages = batch["advantages"]
    advantage_NT = advantages if advantages.dim() == 2 else advantages[:, None]
    return (advantage_NT.ne(0) & loss_mask(batch).bool()).any(1)
