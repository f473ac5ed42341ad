"""The one group on which every reward's docstring works its example, and a printer for doctests."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lenrl.rollouts import Rollouts


def groups(lengths: Sequence[Sequence[int]], correct: Sequence[Sequence[float]], **fields: Any) -> Rollouts:
    """Rollouts of plain nested lists (P, G). Of what is not given: nothing was cut or truncated, all is well formed,
    there is no budget and no grade, L_max is 4096. Lists of `*_PG` fields become tensors.
    """
    length_PG = torch.tensor(lengths, dtype=torch.int64)
    correct_PG = torch.tensor(correct, dtype=torch.float64)
    true_PG = torch.ones_like(length_PG, dtype=torch.bool)
    whole = {
        "prompt_ids": tuple(f"q{i}" for i in range(len(lengths))),
        "max_length": 4096,
        "step": 0,
        "sampled_length_PG": length_PG,
        "sampled_correct_PG": correct_PG,
        "truncated_PG": ~true_PG,
        "formatted_PG": true_PG,
        "think_tags_PG": true_PG,
        "answer_tags_PG": true_PG,
        "budget_PG": torch.full_like(correct_PG, float("nan")),
        "grade_PG": torch.full_like(correct_PG, float("nan")),
    }
    fields = {
        k: torch.tensor(v) if k.endswith("_PG") and isinstance(v, list) else v for k, v in fields.items()
    }
    return Rollouts(length_PG=length_PG, correct_PG=correct_PG, **{**whole, **fields})


GROUP = groups([[1000, 2000, 3000, 4000]], [[1, 1, 0, 1]])


def show(values: Tensor, digits: int = 4) -> list[Any]:
    """Nested lists, rounded, without negative zeros."""
    scale = 10**digits
    return ((values.to(torch.float64) * scale).round() / scale + 0.0).tolist()
