"""A method tried on made-up groups: what its length penalty can move, and whether it gives one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lenrl.rollouts import Rollouts
from lenrl.strategies.diagnostics import diagnose
from lenrl.tasks import Problem
from lenrl.training.prepare import CheckedRun

TRIED = (1.0, 0.75, 0.5, 0.25)  # accuracies of the groups


def penalty(checked_run: CheckedRun, train: Sequence[Problem], warnings: list[str]) -> dict[str, Any]:
    """The method on made-up groups: lengths spread from 0.1 to 0.9 of the cap, wrong ones longest."""
    method, batch = checked_run.recipe.method, _made_up(checked_run, train)
    reward = method.rewards(batch, "drop")
    advantage = method.advantages(reward, batch)
    if not torch.equal(advantage, method.advantages(method.rewards(batch, "drop"), batch)):
        warnings.append("the reward or the advantage is not deterministic: the same batch gave two results")
    found = diagnose(method, reward, advantage, batch)
    return {
        "made_up_groups": f"{batch.P} of {batch.G}, right: " + ", ".join(f"{share:.0%}" for share in TRIED),
        **{key: found[key] for key in ("penalty_leverage", "groups_with_signal", "correct_pushed_down")},
    }


def _made_up(checked_run: CheckedRun, train: Sequence[Problem]) -> Rollouts:
    run_info = checked_run.run_info
    groups, size = len(TRIED), run_info.num_generations or 8
    problems = [train[i % len(train)] for i in range(groups)]
    rows = [problem for problem in problems for _ in range(size)]
    given = checked_run.recipe.method.budgets([p.id for p in rows], [p.columns for p in rows], 0, run_info)
    columns = [
        {**row.columns, **prompt_budget.columns} for row, prompt_budget in zip(rows, given, strict=True)
    ]
    names = dict.fromkeys(name for row in columns for name in row)
    table = {
        name: tuple(tuple(row.get(name) for row in columns[p * size : (p + 1) * size]) for p in range(groups))
        for name in names
    }
    budgets = [float("nan") if a.budget is None else float(a.budget) for a in given]
    lengths = torch.linspace(0.1, 0.9, size) * run_info.max_length
    right = torch.arange(size) < torch.tensor(TRIED)[:, None] * size
    return Rollouts(
        prompt_ids=tuple(f"{p.id}#{i}" for i, p in enumerate(problems)),
        length_PG=lengths.round().long().clamp(min=1).repeat(groups, 1),
        correct_PG=right.to(torch.float64),
        max_length=run_info.max_length,
        budget_PG=torch.tensor(budgets, dtype=torch.float64).reshape(groups, size),
        mean_logp_PG=torch.full((groups, size), -0.5, dtype=torch.float64),
        columns=table,
    )
