"""An objective tried on a made-up micro-batch: a finite loss, a gradient that reaches its tokens, figures."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lenrl.strategies.base import MicroBatch, Objective, StepTotals
from lenrl.strategies.contract import objective_result
from lenrl.strategies.faults import BadStrategy, calling, named
from lenrl.strategies.scoring import carry

LENGTHS = (8, 5, 1, 0)  # kept tokens of the rows, in turn: a row may have none
DRIFT = 0.1  # nats by which the policy's log-probs lie below those at rollout time, every second token
VOCABULARY = 2**18  # tokens that first logits are made up for


def try_objective(
    objective: Objective, advantage: Tensor, values: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """One loss of an objective, or its term, and its figures, by name.

    Args:
        objective: any; TRL's own loss is not tried.
        advantage: of a generation batch, (P, G) or (P, G, T).
        values: what the objective reads of each of its rows, of the same shapes.

    Raises:
        PluginFailed: it raises.
        BadStrategy: what it returns is no loss that could train, or it edits its batch.
    """
    if not objective.computes_loss:
        return {"name": objective.name, "loss": "TRL's"}
    where = named(objective)
    batch, before = (_micro_batch(objective, advantage, values or {}) for _ in range(2))
    totals = _totals(objective, batch, where)
    with calling(objective):
        output = objective(batch, totals)
    loss, figures = objective_result(where, output)
    if not bool(loss.isfinite()):
        raise BadStrategy(f"{where} gave the loss {loss.item()} on a made-up micro-batch: it must be finite")
    with calling(objective):
        loss.backward()
    _check_gradient(where, batch, added=objective.adds_loss)
    for name, value in _read_only(before).items():
        if not torch.equal(_read_only(batch)[name], value):
            raise BadStrategy(f"{where} edits {name} of its micro-batch: copy it first")
    return {"name": objective.name, "loss": loss.item(), **figures}


def _micro_batch(objective: Objective, advantage: Tensor, values: Mapping[str, Tensor]) -> MicroBatch:
    """Rows of all groups, cut to a few tokens."""
    width = max(LENGTHS)
    rows = _cut(advantage, width)
    length_N = torch.tensor([LENGTHS[i % len(LENGTHS)] for i in range(len(rows))])
    old_NT = -0.5 - 0.25 * torch.arange(len(rows) * width).remainder(7).reshape(len(rows), width)
    logp_NT = (old_NT - DRIFT * torch.arange(width).remainder(2)).requires_grad_()
    mask_NT = torch.arange(width) < length_N[:, None]
    carried = carry(
        objective.reads_batch,
        entropy=(old_NT.abs() + 1).requires_grad_,
        token_ids=lambda: torch.arange(len(rows) * width).reshape(len(rows), width),
        ref_logps=lambda: old_NT - DRIFT,
        first_logits=lambda: (
            torch.arange(VOCABULARY).remainder(7).float().repeat(len(rows), 1).requires_grad_()
        ),
    )
    numbers = {name: _cut(value, width) for name, value in values.items()}
    return MicroBatch(logp_NT, old_NT, mask_NT, rows, numbers, carried)


def _cut(value: Tensor, width: int) -> Tensor:
    """(N,), or (N, width): values of completions, or of tokens, filled up with 0."""
    rows = value.flatten(0, 1).to(torch.float32)
    return rows if rows.dim() == 1 else pad(rows[:, :width], (0, max(0, width - rows.shape[1])))


def _read_only(batch: MicroBatch) -> dict[str, Tensor]:
    """Tensors that an objective must leave as they are, by name."""
    named = {name: getattr(batch, name) for name in ("old_logp_NT", "mask_NT", "advantage_N")}
    return {**named, **batch.rows, **batch.carried}


def _totals(objective: Objective, batch: MicroBatch, where: str) -> StepTotals:
    """Of a step of this one micro-batch."""
    extra: Any = {}
    if objective.surveys == "tokens":
        frozen = replace(batch, logp_NT=batch.logp_NT.detach(), carried={})
        with calling(objective):
            extra = objective.survey([frozen], lambda value: value)
        if not isinstance(extra, Mapping) or not all(_is_number(value) for value in extra.values()):
            raise BadStrategy(
                f"the survey of {where} returned {extra!r}: it must return finite numbers by name"
            )
    drift = torch.where(batch.mask_NT, batch.old_logp_NT - batch.logp_NT.detach(), 0.0).sum().item()
    return StepTotals(len(batch.mask_NT), float(batch.mask_NT.sum()), drift, processes=1, extra=extra)


def _check_gradient(where: str, batch: MicroBatch, *, added: bool) -> None:
    """Refuse gradients that train nothing, or what they must not; a term may train by other parts of the batch."""
    gradient = batch.logp_NT.grad
    if added and gradient is None:
        return
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
