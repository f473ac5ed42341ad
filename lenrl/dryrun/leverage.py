"""A method tried on made-up groups: what its length penalty can move, and whether it gives one answer."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lenrl.dryrun.attack.batch import value_of
from lenrl.dryrun.attack.writer import Writer
from lenrl.rollouts import Rollouts, StepScore, Verdict
from lenrl.strategies.base import PromptBudget
from lenrl.strategies.diagnostics import diagnose
from lenrl.strategies.method import Method
from lenrl.strategies.scoring import Row, build_rollouts, carry
from lenrl.tasks import Problem
from lenrl.training.prepare import CheckedRun

ACCURACIES = (1.0, 0.75, 0.5, 0.25)  # of the groups
MEAN_LOGP = -0.5  # of every completion
MADE_UP_STEPS = 10  # of thinking, in every completion


def penalty(
    checked_run: CheckedRun, train: Sequence[Problem], warnings: list[str]
) -> tuple[dict[str, object], Tensor, dict[str, Tensor]]:
    """The method's figures on made-up groups, and its advantages and what its objective reads of each row there.

    Lengths are spread from 0.1 to 0.9 of the cap, wrong ones longest. Reward functions are left out: their values say
    nothing of lengths.
    """
    method, batch = replace(checked_run.recipe.method, functions=()), _made_up(checked_run, train)
    reward = method.rewards(batch, "drop")
    advantage_PG = method.advantages(reward, batch)
    if not torch.equal(advantage_PG, method.advantages(method.rewards(batch, "drop"), batch)):
        warnings.append("the reward or the advantage is not deterministic: the same batch gave two results")
    metrics = diagnose(method, reward, advantage_PG, batch)
    figures: dict[str, object] = {
        "made_up_groups": f"{batch.P} of {batch.G}, right: "
        + ", ".join(f"{share:.0%}" for share in ACCURACIES),
        **{key: metrics[key] for key in ("penalty_leverage", "groups_with_signal", "correct_pushed_down")},
    }
    return figures, advantage_PG, method.row_values(reward, batch)


def _made_up(checked_run: CheckedRun, train: Sequence[Problem]) -> Rollouts:
    """A group for each accuracy; no completion is cut."""
    run_info = checked_run.run_info
    G = run_info.num_generations or 8
    problems = [train[i % len(train)] for i in range(len(ACCURACIES)) for _ in range(G)]
    method = checked_run.recipe.method
    budgets = method.budgets(
        [problem.id for problem in problems],
        [method.budget.visible(p.columns, prompt=p.prompt, gold=p.answer) for p in problems],
        0,
        run_info,
    )
    lengths = (torch.linspace(0.1, 0.9, G) * run_info.max_length).round().long().clamp(min=1).tolist()
    rows = [
        _row(method, problem, budget, lengths[i % G], group=i // G, right=i % G < ACCURACIES[i // G] * G)
        for i, (problem, budget) in enumerate(zip(problems, budgets, strict=True))
    ]
    return build_rollouts(rows, G, run_info.max_length, 0)


def _row(
    method: Method, problem: Problem, budget: PromptBudget, length: int, *, group: int, right: bool
) -> Row:
    """A made-up completion of `length` tokens, of text where a strategy reads that; its steps score as its verdict."""
    gold = value_of(problem)
    answer = gold if right and gold is not None else "0"
    completion = Writer(answer, answer, answer).solve(answer, length).cut(length)
    score = StepScore(float(right), length)
    return Row(
        prompt_id=f"{problem.id}#{group}",
        length=length,
        truncated=False,
        verdict=Verdict(right, answer, formatted=True),
        prompt_budget=budget,
        columns=problem.columns,
        mean_logp=MEAN_LOGP,
        carried=carry(
            method.reads,
            prompt=lambda: problem.prompt,
            gold=lambda: problem.answer,
            text=lambda: completion.text,
            token_ids=lambda: completion.token_ids,
            answer=lambda: answer,
            steps=lambda: (score,),
            step_numbers=lambda: [i * MADE_UP_STEPS // length for i in range(length)],
            logps=lambda: [MEAN_LOGP] * length,
            teacher_logps=lambda: [MEAN_LOGP] * length,
        ),
    )
