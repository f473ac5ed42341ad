"""Copies of the record and of rewards, which strategies get so that they can spoil nothing."""

import copy

from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import Strategy

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
