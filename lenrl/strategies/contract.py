"""The contract of a strategy: checks of what each slot returns."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import MAX_REWARD, NonfiniteReward, PromptBudget
from lenrl.strategies.faults import BadStrategy
from lenrl.strategies.groups import INF, NAN

WORDS = ("hint", "system", "forced")  # texts of a prompt budget


def prompt_budgets(where: str, given: Any, rows: int) -> list[PromptBudget]:
    """Prompt budgets as a budget gave them, one a row.

    Raises:
        BadStrategy: not one prompt budget a row, a budget or cap that is not positive, or words that are no text.
    """
    if not isinstance(given, Sequence):
        raise BadStrategy(
            f"{where} returned {type(given).__name__}, expected a list of {rows} prompt budgets"
        )
    if len(given) != rows:
        raise BadStrategy(f"{where} returned {len(given)} budgets for {rows} rows")
    for row, budget in enumerate(given):
        if not isinstance(budget, PromptBudget):
            raise BadStrategy(
                f"{where} returned {type(budget).__name__} for row {row}, expected PromptBudget"
            )
        if budget.budget is not None and not (isinstance(budget.budget, Real) and 0 < budget.budget < INF):
            raise BadStrategy(f"{where} gave row {row} a budget of {budget.budget!r} tokens, must be above 0")
        if budget.cap is not None and (type(budget.cap) is not int or budget.cap < 1):
            raise BadStrategy(
                f"{where} gave row {row} a cap of {budget.cap!r}, must be an integer of at least 1"
            )
        for name in WORDS:
            text = getattr(budget, name)
            if text is not None and not isinstance(text, str):
                raise BadStrategy(f"{where} gave row {row} {name}={text!r:.60}, must be a text or None")
    return list(given)


def kept_lengths(where: str, kept: Any, rollouts: Rollouts) -> Tensor:
    """Lengths that a truncation keeps, int64 (P, G).

    Raises:
        BadStrategy: wrong type or shape, or a length outside [0, length].
    """
    _check_shape(where, kept, rollouts)
    if kept.is_floating_point() or kept.dtype == torch.bool:
        raise BadStrategy(f"{where} returned {kept.dtype}, expected int64 (whole tokens)")
    kept = kept.to(torch.int64)
    outside = (kept < 0) | (kept > rollouts.length_PG)
    if outside.any():
        p, g = outside.nonzero()[0].tolist()
        raise BadStrategy(
            f"{where} keeps {int(kept[p, g])} of {int(rollouts.length_PG[p, g])} tokens "
            f"(group {p}, completion {g}): must be between 0 and the length"
        )
    return kept


def reward_result(where: str, value: Any, rollouts: Rollouts) -> RewardResult:
    """Rewards as a strategy paid them, in float64 and without gradient.

    Raises:
        BadStrategy: wrong type or shape, of the total, of a part or of the rewards of tokens.
    """
    result = value if isinstance(value, RewardResult) else RewardResult(value)
    _check_shape(where, result.total_PG, rollouts)
    parts = {}
    for name, part in _by_name(f"parts of {where}", result.parts).items():
        _check_shape(f"part {name!r} of {where}", part, rollouts)
        parts[str(name)] = part.detach().to(torch.float64)
    total = result.total_PG.detach().to(torch.float64)
    tokens = None
    if result.token_PGT is not None:
        tokens = _token_rewards(where, result.token_PGT, total, rollouts)
    return RewardResult(total, parts, token_PGT=tokens)


def finite(
    where: str, reward: RewardResult, rollouts: Rollouts, nonfinite: Literal["fail", "drop"]
) -> RewardResult:
    """The reward; with `nonfinite="drop"` faulty rows are NaN, and counted.

    Raises:
        NonfiniteReward: NaN where the verdict is known, infinite, or above 1e6, unless dropped.
    """
    total, tokens = reward.total_PG, reward.token_PGT
    faulty = (total.isnan() & rollouts.known_PG) | (total.abs() > MAX_REWARD)
    if tokens is not None:
        faulty |= (tokens.abs() > MAX_REWARD).any(dim=2)
    if not faulty.any():
        return reward
    if nonfinite == "drop":
        if tokens is not None:
            tokens = tokens.masked_fill(faulty[..., None], NAN)
        parts = {name: part.masked_fill(faulty, NAN) for name, part in reward.parts.items()}
        return RewardResult(total.masked_fill(faulty, NAN), parts, int(faulty.sum()), tokens)
    p, g = faulty.nonzero()[0].tolist()
    raise NonfiniteReward(
        f"{where} paid {total[p, g].item()} for prompt {rollouts.prompt_ids[p]!r}, completion {g}: must "
        f"be finite and at most {MAX_REWARD:g}; repair it, or leave such rows out: guard.nonfinite=drop"
    )


def of_rows_or_tokens(where: str, value: Any, rollouts: Rollouts) -> Tensor:
    """Values (P, G), or (P, G, T) with 0 past the kept tokens, without gradient.

    Raises:
        BadStrategy: wrong type or shape.
    """
    if isinstance(value, Tensor) and value.dim() == 3:
        _check_tokens(where, value, rollouts)
        value = value.masked_fill(~groups.inside(rollouts.length_PG, value.shape[2]), 0)
    else:
        _check_shape(where, value, rollouts)
    return value.detach()


def row_values(where: str, made: Any, rollouts: Rollouts) -> dict[str, Tensor]:
    """Numbers of rows that an objective reads, by name, float32, (P, G) or (P, G, T) with 0 past the kept tokens.

    Raises:
        BadStrategy: wrong type or shape, or a number that is not finite.
    """
    values = {}
    for name, value in _by_name(f"row values of {where}", made).items():
        place = f"row value {name!r} of {where}"
        values[name] = of_rows_or_tokens(place, value, rollouts).to(torch.float32)
        if not values[name].isfinite().all():
            raise BadStrategy(f"{place} is not finite: give rows that do not count a number, such as 0")
    return values


def figures(where: str, given: Any) -> dict[str, float | None]:
    """Figures of a batch for the logs, by name; None: nothing to average.

    Raises:
        BadStrategy: a value that is neither a plain number nor None.
    """
    for name, value in _by_name(f"metrics of {where}", given).items():
        if value is not None and not isinstance(value, int | float):
            raise BadStrategy(
                f"{where} returned {type(value).__name__} for its figure {name!r}, expected a plain number (.item()) "
                "or None"
            )
    return dict(given)


def factor(where: str, value: Any) -> float:
    """Prompts that a sampling strategy takes for each that it keeps.

    Raises:
        BadStrategy: no number, or one that is not finite or below 1.
    """
    if not isinstance(value, int | float) or not 1 <= value < INF:
        raise BadStrategy(f"{where} has a factor of {value!r:.60}, must be a number of at least 1")
    return float(value)


def kept_groups(where: str, value: Any, total: int, most: int) -> list[int]:
    """Groups of a generation batch of `total` that a sampling strategy keeps for an update of `most`.

    Raises:
        BadStrategy: no indices of that many different groups at most.
    """
    if (
        not isinstance(value, Tensor)
        or value.dim() != 1
        or value.dtype.is_floating_point
        or value.dtype == torch.bool
    ):
        raise BadStrategy(f"{where} kept {value!r:.60}, expected an int64 tensor of indices of groups")
    kept = value.tolist()
    if len(kept) > most or len(set(kept)) < len(kept) or any(not 0 <= p < total for p in kept):
        raise BadStrategy(
            f"{where} kept the groups {kept!r:.60}: must be at most {most} different ones of 0 to {total - 1}"
        )
    return kept


def of_groups(where: str, value: Any, rollouts: Rollouts) -> Tensor:
    """A truth of each group, bool (P,).

    Raises:
        BadStrategy: wrong type or shape.
    """
    if not isinstance(value, Tensor) or value.dtype != torch.bool or value.shape != (rollouts.P,):
        raise BadStrategy(f"{where}: expected a bool tensor of {rollouts.P} groups")
    return value


def added_at_end(token_PGT: Tensor, added_PG: Tensor, rollouts: Rollouts) -> Tensor:
    """Rewards of tokens with one of the whole completion added at its last kept token, if it has any."""
    token_PGT = token_PGT.clone()
    p, g = ((added_PG != 0) & ~added_PG.isnan() & (rollouts.length_PG > 0)).nonzero(as_tuple=True)
    last = rollouts.length_PG[p, g] - 1
    token_PGT[p, g, last] = token_PGT[p, g, last].nan_to_num() + added_PG[p, g]
    return token_PGT


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
    for name, value in _by_name(f"figures of {where}", figures).items():
        if type(value) not in (int, float):
            raise BadStrategy(
                f"{where} returned {type(value).__name__} for its figure {name!r}, expected a plain number (.item())"
            )
    return loss, dict(figures)


def _token_rewards(where: str, token_PGT: Any, total_PG: Tensor, rollouts: Rollouts) -> Tensor:
    """Rewards of the kept tokens, float64, NaN elsewhere and in rows that are not valid.

    Raises:
        BadStrategy: wrong type or shape, a reward past the kept tokens, or a sum that is not the total.
    """
    where = f"token_PGT of {where}"
    _check_tokens(where, token_PGT, rollouts)
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
    return token_PGT.masked_fill(total_PG.isnan()[..., None], NAN)


def _check_tokens(where: str, value: Any, rollouts: Rollouts) -> None:
    """Refuse what is no tensor of one value a token, of all kept tokens at least."""
    if not isinstance(value, Tensor) or value.dim() != 3 or value.shape[:2] != rollouts.length_PG.shape:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise BadStrategy(f"{where} has shape {shape}, expected {(*rollouts.length_PG.shape, 'tokens')}")
    longest = int(rollouts.length_PG.max())
    if value.shape[2] < longest:
        raise BadStrategy(f"{where} returned {value.shape[2]} tokens a completion, the longest has {longest}")


def _by_name(where: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise BadStrategy(f"{where}: found {type(value).__name__}, expected values by name")
    return value


def _check_shape(where: str, value: Any, rollouts: Rollouts) -> None:
    """Refuse what is no tensor of one value a completion."""
    shape = rollouts.length_PG.shape
    if not isinstance(value, Tensor):
        raise BadStrategy(
            f"{where} returned {type(value).__name__}, expected a tensor of shape {tuple(shape)}"
        )
    if value.is_complex():
        raise BadStrategy(f"{where} returned {value.dtype}, expected real numbers")
    if value.shape != shape:
        raise BadStrategy(
            f"{where} returned shape {tuple(value.shape)}, expected {tuple(shape)} (prompts, completions)"
        )
