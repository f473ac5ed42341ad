"""The contract of a strategy: copies for it to read, and checks of the tensors that it returns."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Strategy
from lenrl.strategies.faults import BadStrategy

PLAIN = frozenset({str, int, float, bool, type(None)})  # values that nobody can edit: shared, not copied


def copied(rollouts: Rollouts, strategy: Strategy) -> Rollouts:
    """A copy whose tensors and columns a strategy may spoil, with what its `reads` names and no more."""
    tensors = {k: v.clone() for k, v in vars(rollouts).items() if isinstance(v, Tensor)}
    columns = {
        name: table if all(PLAIN.issuperset(map(type, row)) for row in table) else copy.deepcopy(table)
        for name, table in rollouts.columns.items()
    }
    parts = {name: part_PG.clone() for name, part_PG in rollouts.parts.items()}
    carried = {name: value for name, value in rollouts.carried.items() if name in strategy.reads}
    carried |= {name: value.clone() for name, value in carried.items() if isinstance(value, Tensor)}
    return rollouts.with_(**tensors, columns=columns, parts=parts, carried=carried)


def reward_copied(reward: RewardResult) -> RewardResult:
    """A copy whose tensors a strategy may spoil."""
    parts = {name: part.clone() for name, part in reward.parts.items()}
    tokens = None if reward.token_PGT is None else reward.token_PGT.clone()
    return RewardResult(reward.total_PG.clone(), parts, reward.dropped, tokens)


def token_rewards(where: str, token_PGT: Any, total_PG: Tensor, rollouts: Rollouts) -> Tensor:
    """Rewards of the kept tokens, float64, NaN elsewhere and in rows that are not valid.

    Raises:
        BadStrategy: wrong type or shape, a reward past the kept tokens, or a sum that is not the total.
    """
    where = f"token_PGT of {where}"
    check_tokens(where, token_PGT, rollouts)
    token_PGT = token_PGT.detach().to(torch.float64)
    inside = groups.inside(rollouts.length_PG, token_PGT.shape[2])
    past = (~token_PGT.isnan() & ~inside).any(dim=2)
    if past.any():
        p, g = past.nonzero()[0].tolist()
        raise BadStrategy(
            f"{where} rewards a token past the {int(rollouts.length_PG[p, g])} of completion {g} of prompt "
            f"{rollouts.prompt_ids[p]!r}: must be NaN there"
        )
    off = (token_PGT.nansum(dim=2) - total_PG).abs() > 1e-6 * total_PG.abs().clamp(min=1)
    if off.any():
        p, g = off.nonzero()[0].tolist()
        raise BadStrategy(
            f"{where} sums to {token_PGT[p, g].nansum().item():g} for prompt {rollouts.prompt_ids[p]!r}, completion "
            f"{g}, and the total is {total_PG[p, g].item():g}: must be the same"
        )
    return token_PGT.masked_fill(total_PG.isnan()[..., None], float("nan"))


def check_tokens(where: str, value: Any, rollouts: Rollouts) -> None:
    """Refuse what is no tensor of one value a token, of all kept tokens at least."""
    if not isinstance(value, Tensor) or value.dim() != 3 or value.shape[:2] != rollouts.length_PG.shape:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise BadStrategy(f"{where} has shape {shape}, expected {(*rollouts.length_PG.shape, 'tokens')}")
    longest = int(rollouts.length_PG.max())
    if value.shape[2] < longest:
        raise BadStrategy(f"{where} returned {value.shape[2]} tokens a completion, the longest has {longest}")


def of_rows_or_tokens(where: str, value: Any, rollouts: Rollouts) -> Tensor:
    """Values (P, G), or (P, G, T) with 0 past the kept tokens, without gradient.

    Raises:
        BadStrategy: wrong type or shape.
    """
    if isinstance(value, Tensor) and value.dim() == 3:
        check_tokens(where, value, rollouts)
        value = value.masked_fill(~groups.inside(rollouts.length_PG, value.shape[2]), 0)
    else:
        check_shape(where, value, rollouts.length_PG.shape)
    return value.detach()


def objective_result(where: str, output: Any) -> tuple[Tensor, dict[str, float]]:
    """The loss and the figures that an objective returned.

    Raises:
        BadStrategy: it returned something else than a scalar with gradient and plain numbers by name.
    """
    if not isinstance(output, tuple) or len(output) != 2:
        raise BadStrategy(f"{where} returned {type(output).__name__}, expected a pair: loss, figures by name")
    loss, figures = output
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        shape = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise BadStrategy(f"{where} returned a loss of {shape}, expected a scalar tensor")
    if not loss.requires_grad:
        raise BadStrategy(f"{where} returned a loss without gradient: compute it from logp_NT")
    if not isinstance(figures, Mapping):
        raise BadStrategy(
            f"{where} returned {type(figures).__name__} for its figures, expected numbers by name"
        )
    for name, value in figures.items():
        if type(value) not in (int, float):
            raise BadStrategy(
                f"{where} returned {type(value).__name__} for its figure {name!r}, expected a plain number (.item())"
            )
    return loss, dict(figures)


def added_at_end(token_PGT: Tensor, added_PG: Tensor, rollouts: Rollouts) -> Tensor:
    """Rewards of tokens with one of the whole completion added at its last kept token, if it has any."""
    token_PGT = token_PGT.clone()
    p, g = ((added_PG != 0) & ~added_PG.isnan() & (rollouts.length_PG > 0)).nonzero(as_tuple=True)
    last = rollouts.length_PG[p, g] - 1
    token_PGT[p, g, last] = token_PGT[p, g, last].nan_to_num() + added_PG[p, g]
    return token_PGT


def check_shape(where: str, value: Any, shape: torch.Size) -> None:
    """Refuse what is no tensor of one value a completion."""
    if not isinstance(value, Tensor):
        raise BadStrategy(
            f"{where} returned {type(value).__name__}, expected a tensor of shape {tuple(shape)}"
        )
    if value.shape != shape:
        raise BadStrategy(
            f"{where} returned shape {tuple(value.shape)}, expected {tuple(shape)} (prompts, completions)"
        )
