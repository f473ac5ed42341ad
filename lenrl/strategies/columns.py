"""Row fields from a budget or the data, as tensors, checked."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lenrl.errors import BadInput
from lenrl.rollouts import Rollouts

LEVELS = ("short", "moderate", "long")  # of the field `level`
MODES = ("short", "long")  # of the field `mode`


def _rows(rollouts: Rollouts, name: str) -> Sequence[Sequence[Any]]:
    if name not in rollouts.columns:
        raise BadInput(f"the rows have no field {name!r}; choose a budget that gives it, or data that has it")
    return rollouts.columns[name]


def tokens(rollouts: Rollouts, name: str) -> Tensor:
    """A field that counts tokens, float64 (P, G), above 0 in every row.

    Raises:
        BadInput: a row has no such field, or it is not above 0.
    """
    rows = _rows(rollouts, name)
    values = rollouts.column(name)
    bad = ~(values > 0)
    if bad.any():
        p, g = bad.nonzero()[0].tolist()
        raise BadInput(
            f"field {name!r} is {rows[p][g]!r} for prompt {rollouts.prompt_ids[p]!r}, completion {g}: "
            "must be above 0 tokens"
        )
    return values


def choice(rollouts: Rollouts, name: str, among: Sequence[str]) -> Tensor:
    """A field that takes one of some words, as its place among them, int64 (P, G).

    Raises:
        BadInput: a row has no such field, or another word.
    """
    rows = _rows(rollouts, name)
    for p, group in enumerate(rows):
        for word in group:
            if word not in among:
                raise BadInput(
                    f"field {name!r} is {word!r} for prompt {rollouts.prompt_ids[p]!r}: "
                    f"must be one of {list(among)}"
                )
    return torch.tensor([[among.index(word) for word in group] for group in rows]).reshape(
        rollouts.P, rollouts.G
    )


def step_rewards(rollouts: Rollouts) -> Tensor:
    """The verifier's step scores, each at its step's last token: float64 (P, G, T), NaN elsewhere.

    For a reward with `reads = ("steps",)`, which `RewardResult.of_tokens` makes its result.
    """
    table = rollouts.steps_PG
    ends = [step.end for group in table for steps in group for step in steps]
    width = max(int(rollouts.length_PG.max()), *ends, 1)
    rewards_PGT = torch.full((rollouts.P, rollouts.G, width), float("nan"), dtype=torch.float64)
    for p, group in enumerate(table):
        for g, steps in enumerate(group):
            places = torch.tensor([step.end - 1 for step in steps], dtype=torch.int64)
            rewards_PGT[p, g, places] = torch.tensor([step.score for step in steps], dtype=torch.float64)
    return rewards_PGT
