"""A method tried on made-up groups: what its length penalty can move, and whether it gives one answer."""

from collections.abc import Sequence

import torch

from lenrl.rollouts import Rollouts, Verdict
from lenrl.strategies.diagnostics import diagnose
from lenrl.strategies.scoring import Row, build_rollouts
from lenrl.tasks import Problem
from lenrl.training.prepare import CheckedRun

ACCURACIES = (1.0, 0.75, 0.5, 0.25)  # of the groups
MEAN_LOGP = -0.5  # of every completion


def penalty(checked_run: CheckedRun, train: Sequence[Problem], warnings: list[str]) -> dict[str, object]:
    """The method's figures on made-up groups: lengths spread from 0.1 to 0.9 of the cap, wrong ones longest."""
    method, batch = checked_run.recipe.method, _made_up(checked_run, train)
    reward = method.rewards(batch, "drop")
    advantage_PG = method.advantages(reward, batch)
    if not torch.equal(advantage_PG, method.advantages(method.rewards(batch, "drop"), batch)):
        warnings.append("the reward or the advantage is not deterministic: the same batch gave two results")
    metrics = diagnose(method, reward, advantage_PG, batch)
    return {
        "made_up_groups": f"{batch.P} of {batch.G}, right: "
        + ", ".join(f"{share:.0%}" for share in ACCURACIES),
        **{key: metrics[key] for key in ("penalty_leverage", "groups_with_signal", "correct_pushed_down")},
    }


def _made_up(checked_run: CheckedRun, train: Sequence[Problem]) -> Rollouts:
    """A group for each accuracy; no completion is cut."""
    run_info = checked_run.run_info
    G = run_info.num_generations or 8
    problems = [train[i % len(train)] for i in range(len(ACCURACIES)) for _ in range(G)]
    budgets = checked_run.recipe.method.budgets(
        [problem.id for problem in problems], [problem.columns for problem in problems], 0, run_info
    )
    lengths = (torch.linspace(0.1, 0.9, G) * run_info.max_length).round().long().clamp(min=1).tolist()
    rows = [
        Row(
            prompt_id=f"{problem.id}#{i // G}",
            length=lengths[i % G],
            truncated=False,
            verdict=Verdict(i % G < ACCURACIES[i // G] * G, formatted=True),
            prompt_budget=budget,
            columns=problem.columns,
            mean_logp=MEAN_LOGP,
        )
        for i, (problem, budget) in enumerate(zip(problems, budgets, strict=True))
    ]
    return build_rollouts(rows, G, run_info.max_length, 0)
