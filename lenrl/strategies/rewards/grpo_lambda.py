"""GRPO-lambda: a length penalty only where the group can afford it."""

import math

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import Reward, RunInfo


class GrpoLambda(Reward):
    """Length penalty in the groups with the highest share of correct completions, 0/1 in all others.

    In the top `ceil(fraction * P - 1e-9)` groups of the batch by share of correct (at least one group when
    `fraction > 0`; ties in batch order): `r = 1 - alpha * sigma(z)` if correct, else 0, with
    `z = (L - mean_correct) / (psd_correct + 1e-7)` over the group's correct completions. Elsewhere `r = c`.

    Source: GRPO-lambda, arXiv 2505.18086.

    Degenerate cases: a lone correct completion has z = 0 and gets `1 - alpha/2`; a group without valid rows
    ranks last; rows with an unknown verdict are not valid. Declares `permute_prompts`: which of two equally
    good groups is selected depends on their order. Declares `groups_leak`: the ranking is over the whole
    batch. With a `fraction` of 0 or 1 neither: all groups are alike.

    >>> from lenrl.strategies.examples import groups, show
    >>> show(GrpoLambda()(groups([[500, 900, 600, 700]], [[0, 1, 1, 1]])), 6)
    [[0.0, 0.841624, 0.948883, 0.913284]]
    >>> show(GrpoLambda(fraction=0)(groups([[500, 900, 600, 700]], [[0, 1, 1, 1]])))
    [[0.0, 1.0, 1.0, 1.0]]
    """

    name = "grpo_lambda"

    fraction: float = Field(default=0.2, ge=0, le=1)  # share of the groups that get the penalty
    alpha: float = Field(default=0.2, ge=0, le=1)

    @property
    def declares(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The choice of groups, where there is one."""
        return ("permute_prompts", "groups_leak") if 0 < self.fraction < 1 else ()

    def __call__(self, rollouts: Rollouts) -> Tensor:
        right = rollouts.right_PG
        z = groups.z_scores(rollouts.tokens_PG, right, population=True, eps=1e-7)
        penalised = 1 - self.alpha * torch.sigmoid(z)
        switched = self.selected(rollouts)[:, None] & right
        return torch.where(switched, penalised, rollouts.correct_PG)

    def selected(self, rollouts: Rollouts) -> Tensor:
        """bool (P,): the groups that get the penalty."""
        chosen = torch.zeros(rollouts.P, dtype=torch.bool)
        if self.fraction == 0:
            return chosen
        ratio = groups.mean(rollouts.right_PG.double(), rollouts.known_PG).squeeze(1).nan_to_num(-1.0)
        top = max(1, math.ceil(self.fraction * rollouts.P - 1e-9))
        chosen[torch.argsort(ratio, descending=True, stable=True)[:top]] = True
        return chosen

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        selected = self.selected(rollouts)
        return {
            "grpo_lambda_selected_share": selected.double().mean().item(),
            "grpo_lambda_selected_accuracy": groups.average(
                rollouts.correct_PG, selected[:, None] & rollouts.known_PG
            ),
        }

    def warnings(self, run_info: RunInfo) -> list[str]:
        if self.fraction == 0 or self.alpha == 0:
            return ["reward 'grpo_lambda' with fraction=0 or alpha=0 is plain 0/1: no length is penalised"]
        return warnings.cancels(self.name, "alpha", "all-correct", run_info)
