"""Figures of a scored generation batch for the logs: the numbers that show a reward going wrong."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.method import Method


def diagnose(
    method: Method, reward: RewardResult, advantage: Tensor, rollouts: Rollouts
) -> dict[str, float | None]:
    """Metrics of a batch by name; None where there is nothing to average.

    `advantage` is (P, G) or (P, G, T), `reward` what `method.rewards` returned for these rollouts.
    """
    kept, sampled = rollouts.tokens_PG, rollouts.sampled_length_PG.to(torch.float64)
    advantage_PG = groups.token_mean(advantage, rollouts.length_PG)
    moved = groups.token_mean((advantage != 0).double(), rollouts.length_PG) > 0
    return {
        "reward": groups.average(reward.total_PG, ~reward.total_PG.isnan()),
        **{f"reward_{name}": groups.average(part, ~part.isnan()) for name, part in reward.parts.items()},
        "accuracy": groups.average(rollouts.correct_PG, rollouts.known_PG),
        "score": groups.average(rollouts.score_PG, ~rollouts.grade_PG.isnan()),
        "tokens_mean": kept.mean().item(),
        "tokens_p50": kept.flatten().quantile(0.5).item(),
        "tokens_p95": kept.flatten().quantile(0.95).item(),
        "tokens_sampled_mean": sampled.mean().item(),
        "truncated_share": rollouts.truncated_PG.double().mean().item(),
        "groups_with_signal": moved.any(dim=1).double().mean().item(),
        "correct_pushed_down": groups.average(advantage_PG < 0, rollouts.right_PG),
        "penalty_leverage": None
        if reward.token_PGT is not None
        else penalty_leverage(method, advantage, rollouts),
    }


def penalty_leverage(method: Method, advantage: Tensor, rollouts: Rollouts) -> float:
    """Mean absolute change of the advantages when every length is taken as its group's mean.

    0: lengths do not matter to this method on this batch. The cut is not repeated, verdicts stay as they are.
    Advantages a token are averaged over each completion first. Not for rewards of tokens, whose
    places another length would not have.
    """
    everything = torch.ones_like(rollouts.length_PG, dtype=torch.bool)
    level = groups.mean(rollouts.tokens_PG, everything).expand(rollouts.P, rollouts.G)
    flat = rollouts.with_(length_PG=level, sampled_length_PG=level)
    counterfactual = method.advantages(method.rewards(flat, "drop"), flat)
    advantage_PG = groups.token_mean(advantage, rollouts.length_PG)
    return (advantage_PG - groups.token_mean(counterfactual, level)).abs().mean().item()
