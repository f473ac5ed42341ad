"""An objective tried on a made-up micro-batch: a finite loss, a gradient that reaches its tokens, figures."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lenrl.strategies.base import MicroBatch, Objective, StepTotals
from lenrl.strategies.contract import objective_result
from lenrl.strategies.faults import BadStrategy, calling, named

LENGTHS = (8, 5, 1, 0)  # kept tokens of the rows, in turn: a row may have none
DRIFT = 0.1  # nats by which the policy's log-probs lie below those at rollout time, every second token


def try_objective(objective: Objective, advantage: Tensor) -> dict[str, Any]:
    """One loss of an objective, and its figures, by name.

    Args:
        objective: any; TRL's own loss is not tried.
        advantage: of a generation batch, (P, G) or (P, G, T).

    Raises:
        PluginFailed: it raises.
        BadStrategy: what it returns is no loss that could train, or it edits its batch.
    """
    if not objective.replaces_loss:
        return {"name": objective.name, "loss": "TRL's"}
    where = named(objective)
    batch, before = _micro_batch(advantage), _micro_batch(advantage)
    totals = _totals(objective, batch, where)
    with calling(objective):
        output = objective(batch, totals)
    loss, figures = objective_result(where, output)
    if not bool(loss.isfinite()):
        raise BadStrategy(f"{where} gave the loss {loss.item()} on a made-up micro-batch: it must be finite")
    with calling(objective):
        loss.backward()
    _check_gradient(where, batch)
    for name in ("old_logp_NT", "mask_NT", "advantage_N"):
        if not torch.equal(getattr(batch, name), getattr(before, name)):
            raise BadStrategy(f"{where} edits {name} of its micro-batch: copy it first")
    return {"name": objective.name, "loss": loss.item(), **figures}


def _micro_batch(advantage: Tensor) -> MicroBatch:
    """Rows of all groups, cut to a few tokens."""
    width = max(LENGTHS)
    rows = advantage.flatten(0, 1)
    length_N = torch.tensor([LENGTHS[i % len(LENGTHS)] for i in range(len(rows))])
    old_NT = -0.5 - 0.25 * torch.arange(len(rows) * width).remainder(7).reshape(len(rows), width)
    logp_NT = (old_NT - DRIFT * torch.arange(width).remainder(2)).requires_grad_()
    mask_NT = torch.arange(width) < length_N[:, None]
    wide = rows if rows.dim() == 1 else torch.zeros(len(rows), width, dtype=rows.dtype)
    if rows.dim() == 2:
        wide[:, : rows.shape[1]] = rows[:, :width]
    return MicroBatch(logp_NT, old_NT, mask_NT, wide.to(torch.float32))


def _totals(objective: Objective, batch: MicroBatch, where: str) -> StepTotals:
    """Of a step of this one micro-batch."""
    extra: Any = {}
    if objective.surveys == "tokens":
        frozen = MicroBatch(batch.logp_NT.detach(), batch.old_logp_NT, batch.mask_NT, batch.advantage_N)
        with calling(objective):
            extra = objective.survey([frozen], lambda value: value)
        if not isinstance(extra, Mapping) or not all(_is_number(value) for value in extra.values()):
            raise BadStrategy(
                f"the survey of {where} returned {extra!r}: it must return finite numbers by name"
            )
    drift = torch.where(batch.mask_NT, batch.old_logp_NT - batch.logp_NT.detach(), 0.0).sum().item()
    return StepTotals(len(batch.mask_NT), float(batch.mask_NT.sum()), drift, processes=1, extra=extra)


def _check_gradient(where: str, batch: MicroBatch) -> None:
    gradient = batch.logp_NT.grad
    if gradient is None or not bool(gradient.any()):
        raise BadStrategy(f"the gradient of {where} does not reach logp_NT, the log-probs that it trains")
    if not bool(gradient.isfinite().all()):
        raise BadStrategy(f"the gradient of {where} is not finite on a made-up micro-batch")
    if bool(gradient[~batch.mask_NT].any()):
        raise BadStrategy(
            f"the gradient of {where} reaches tokens outside mask_NT, which are padding or were cut"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
