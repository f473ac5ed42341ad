"""Figures of a scored generation batch that say what lengths do in it: to being right, and to the method.

For the latter lengths are replaced in the record, and its rewards and advantages computed anew. The cut is not
repeated, verdicts stay as they are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.method import Method

ROUNDING = 1e-9  # of a reward or an advantage, which are of the order of 1; of a sum, as a share of its parts
AS_LONG = {  # of `READABLE`: what a completion of another length has more of
    *("text", "token_ids", "steps", "step_numbers"),
    *("logps", "teacher_logps"),
}
PENALTY = ("penalty_leverage", "penalty_idle", "penalty_applied_share", "correct_wiped_share")


def length_accuracy(rollouts: Rollouts) -> dict[str, float | None]:
    """`length_accuracy_corr`: mean over groups of the correlation of length and correctness, of known verdicts.

    `length_accuracy_left_out`: share of the groups in which one of the two does not vary, which have none.
    """
    known, tokens, correct = rollouts.known_PG, rollouts.tokens_PG, rollouts.correct_PG
    length_PG = tokens - groups.mean(tokens, known)
    right_PG = correct - groups.mean(correct, known)
    both = groups.total(length_PG.square(), known) * groups.total(right_PG.square(), known)
    corr_P = (groups.total(length_PG * right_PG, known) / both.sqrt()).squeeze(1)
    vary_P = (groups.spread(tokens, known) & groups.spread(correct, known)).squeeze(1)
    return {
        "length_accuracy_corr": groups.average(corr_P, vary_P),
        "length_accuracy_left_out": (~vary_P).double().mean().item(),
    }


def thinking_figures(apart: Sequence[tuple[int, int]]) -> dict[str, float | None]:
    """Means of the tokens of thinking and of those after it, of the completions that have a thinking."""
    thinking, after = (
        (sum(tokens) / len(apart) for tokens in zip(*apart, strict=True)) if apart else (None, None)
    )
    return {"tokens_thinking_mean": thinking, "tokens_answer_mean": after}


def penalty_figures(
    method: Method, advantage: Tensor, reward: RewardResult, rollouts: Rollouts
) -> dict[str, float | None]:
    """`PENALTY`; those that a batch has none of are None.

    `penalty_leverage`: mean absolute change of the advantages when every length is taken as its group's mean. 0:
    lengths do not matter to this method on this batch. `penalty_idle`: of the groups in which lengths of 1 and L_max in
    turn would matter, the share in which those that there are do not; None: in none, or a strategy reads texts or
    tokens, which would not be as long. Both None for advantages of tokens, and all for rewards of tokens, which other
    lengths lack. `penalty_applied_share`, `correct_wiped_share`: see `_paid_less`.
    """
    figures: dict[str, float | None] = dict.fromkeys(PENALTY)
    if reward.token_PGT is not None:
        return figures
    everything = torch.ones_like(rollouts.length_PG, dtype=torch.bool)
    mean_PG = groups.mean(rollouts.tokens_PG, everything).expand(rollouts.P, rollouts.G)
    level = _with_lengths(rollouts, mean_PG)
    level_reward = method.rewards(level, "drop")
    figures |= _paid_less(method, reward.total_PG, level_reward.total_PG, rollouts)
    if advantage.dim() > 2:
        return figures
    level_PG = method.advantages(level_reward, level)
    change_PG = (advantage - level_PG).abs()
    figures["penalty_leverage"] = change_PG.mean().item()
    if AS_LONG & set(method.reads):
        return figures
    does_P = change_PG.amax(dim=1) > ROUNDING
    if does_P.all():
        return {**figures, "penalty_idle": 0.0}
    # In turn among the right ones and among the others, so that a single one is long.
    places = torch.where(rollouts.right_PG, rollouts.right_PG.cumsum(1), (~rollouts.right_PG).cumsum(1))
    extreme = _with_lengths(rollouts, torch.where(places % 2 == 1, float(rollouts.max_length), 1.0))
    extreme_PG = method.advantages(method.rewards(extreme, "drop"), extreme)
    could_P = does_P | ((extreme_PG - level_PG).abs().amax(dim=1) > ROUNDING)
    return {**figures, "penalty_idle": groups.average(~does_P, could_P)}


def _paid_less(
    method: Method, total_PG: Tensor, level_PG: Tensor, rollouts: Rollouts
) -> dict[str, float | None]:
    """Shares of completions that their length costs something.

    It costs what their reward falls behind that of the same batch with other lengths: the mean of its group for each
    (`level_PG`), or one token. `penalty_applied_share`: of those with a reward. `correct_wiped_share`: of the correct
    ones, those paid at most what a wrong one of their group is, and more than each wrong one at one of the other two.
    """
    short_PG = method.rewards(_with_lengths(rollouts, torch.ones_like(level_PG)), "drop").total_PG

    def ahead(paid_PG: Tensor) -> Tensor:
        """Paid more than every wrong one of the group."""
        wrong = rollouts.wrong_PG & ~paid_PG.isnan()
        return paid_PG > groups.highest(paid_PG, wrong) + ROUNDING

    wiped_PG = ~ahead(total_PG) & (ahead(level_PG) | ahead(short_PG))
    applied_PG = torch.maximum(level_PG, short_PG) > total_PG + ROUNDING
    return {
        "penalty_applied_share": groups.average(applied_PG, ~total_PG.isnan()),
        "correct_wiped_share": groups.average(wiped_PG, rollouts.right_PG),
    }


def _with_lengths(rollouts: Rollouts, length_PG: Tensor) -> Rollouts:
    length_PG = length_PG.round().to(torch.int64)  # whole tokens, as strategies know lengths
    return rollouts.with_(length_PG=length_PG, sampled_length_PG=length_PG)
