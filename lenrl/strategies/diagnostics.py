"""Figures of a scored generation batch for the logs: the numbers that show a reward going wrong."""

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.method import Method

ROUNDING = 1e-9  # of an advantage, which is of the order of 1; of a sum, as a share of its parts
AS_LONG = {
    "text",
    "token_ids",
    "steps",
    "step_numbers",
    "logps",
    "teacher_logps",
}  # of `READABLE`: what a completion of another length has more of


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
        groups.highest(x_PG, valid_PG) - groups.lowest(x_PG, valid_PG)
        for x_PG in (reward.total_PG, *reward.parts.values())
    )
    widest_P1 = torch.cat(parts_P1, dim=1).amax(dim=1, keepdim=True)
    cancel_P1 = (widest_P1 > 0) & (total_P1 <= ROUNDING * widest_P1)
    return (cancel_P1.squeeze(1) & ~moved_PG.any(dim=1)).double().mean().item()


def penalty_figures(
    method: Method, advantage: Tensor, reward: RewardResult, rollouts: Rollouts
) -> dict[str, float | None]:
    """`penalty_leverage` and `penalty_idle`, None for rewards or advantages of tokens, which other lengths lack.

    Lengths are replaced in the record, and its rewards and advantages computed anew. The cut is not repeated, verdicts
    stay as they are.

    `penalty_leverage`: mean absolute change of the advantages when every length is taken as its group's mean. 0:
    lengths do not matter to this method on this batch. `penalty_idle`: of the groups in which lengths of 1 and L_max in
    turn would matter, the share in which those that there are do not; None: in none, or a strategy reads texts or
    tokens, which would not be as long.
    """
    if reward.token_PGT is not None or advantage.dim() > 2:
        return {"penalty_leverage": None, "penalty_idle": None}
    everything = torch.ones_like(rollouts.length_PG, dtype=torch.bool)
    mean_PG = groups.mean(rollouts.tokens_PG, everything).expand(rollouts.P, rollouts.G)
    level_PG = _with_lengths(method, rollouts, mean_PG)
    change_PG = (advantage - level_PG).abs()
    leverage = change_PG.mean().item()
    if AS_LONG & set(method.reads):
        return {"penalty_leverage": leverage, "penalty_idle": None}
    # In turn among the right ones and among the others, so that a single one is long.
    places = torch.where(rollouts.right_PG, rollouts.right_PG.cumsum(1), (~rollouts.right_PG).cumsum(1))
    extreme_PG = torch.where(places % 2 == 1, float(rollouts.max_length), 1.0)
    could_P = (_with_lengths(method, rollouts, extreme_PG) - level_PG).abs().amax(dim=1) > ROUNDING
    does_P = change_PG.amax(dim=1) > ROUNDING
    return {"penalty_leverage": leverage, "penalty_idle": groups.average(~does_P, could_P)}


def _with_lengths(method: Method, rollouts: Rollouts, length_PG: Tensor) -> Tensor:
    """(P, G): the advantages if completions had these lengths."""
    other = rollouts.with_(length_PG=length_PG, sampled_length_PG=length_PG)
    return groups.token_mean(method.advantages(method.rewards(other, "drop"), other), length_PG)
