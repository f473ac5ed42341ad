"""Figures of a scored generation batch for the logs: the numbers that show a reward going wrong."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.length_figures import ROUNDING, length_accuracy, penalty_figures
from lenrl.strategies.method import Method


def diagnose(
    method: Method, reward: RewardResult, advantage: Tensor, rollouts: Rollouts
) -> dict[str, float | None]:
    """Metrics of a batch by name; None where there is nothing to average.

    `advantage` is (P, G) or (P, G, T), `reward` what `method.rewards` returned for these rollouts.
    """
    kept, sampled = rollouts.tokens_PG, rollouts.sampled_length_PG.to(torch.float64)
    advantage_PG = groups.token_mean(advantage, rollouts.length_PG)
    moved = groups.token_mean((advantage.abs() > ROUNDING).double(), rollouts.length_PG) > 0
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
        "parts_cancel": parts_cancel(reward, moved),
        "correct_pushed_down": groups.average(advantage_PG < 0, rollouts.right_PG),
        "correct_advantage": groups.average(advantage_PG, rollouts.right_PG),
        **length_accuracy(rollouts),
        **penalty_figures(method, advantage, reward, rollouts),
    }


def parts_cancel(reward: RewardResult, moved_PG: Tensor) -> float | None:
    """Share of groups whose parts of the reward differ while their sum does not, so that nothing moves.

    None where the reward has one part. `moved_PG`: bool, completions with an advantage. Parts that cancel leave their
    rounding in the sum.
    """
    if len(reward.parts) < 2:
        return None
    valid_PG = ~reward.total_PG.isnan()
    total_P1, *parts_P1 = (
        groups.highest(x_PG, valid_PG & ~x_PG.isnan()) - groups.lowest(x_PG, valid_PG & ~x_PG.isnan())
        for x_PG in (reward.total_PG, *reward.parts.values())
    )
    widest_P1 = torch.cat(parts_P1, dim=1).amax(dim=1, keepdim=True)
    cancel_P1 = (widest_P1 > 0) & (total_P1 <= ROUNDING * widest_P1)
    return (cancel_P1.squeeze(1) & ~moved_PG.any(dim=1)).double().mean().item()
