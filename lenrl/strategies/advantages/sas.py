"""SAS: only some steps of a completion are learned from."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.advantages.grpo import normalise
from lenrl.strategies.base import Advantage, RunInfo


class Sas(Advantage):
    """GRPO's advantage, but 0 at the least sure steps of right completions and at the surest ones of wrong ones.

    A step's confidence is the mean log-prob of its tokens under the policy that sampled them. Of n steps a right
    completion loses the `min(ceil(ratio n), n - 1)` least confident, a wrong one the `n - ceil((1 - ratio) n)` most
    confident. All other tokens, the answer's too, keep their advantage.

    Source: "Step-level Advantage Selection", arXiv 2604.24003. The released line masks all steps of right rows and none
    of wrong ones: `ratio=1, apply=correct`, but for the one step that is kept here.

    Degenerate cases: flat groups and rows that are not valid 0; of equal confidences the earlier step first; one step
    is never masked in a right row.

    >>> from lenrl.strategies.examples import groups, show
    >>> steps = [[0, 0, 1, 1, 1, 2, 2, 3, -1, -1, -1]]
    >>> logps = [[-.1, -.3, -1, -2, -.6, -.2, -.4, -.9, -.1, -.1, -.1]]
    >>> carried = {"step_numbers": torch.tensor([steps * 2]).reshape(1, 2, 11),
    ...            "logps": torch.tensor([logps * 2]).reshape(1, 2, 11)}
    >>> batch = groups([[11, 11]], [[1, 0]], carried=carried)
    >>> for row in show(Sas()(RewardResult(batch.correct_PG), batch))[0]:
    ...     print(row)
    [0.707, 0.707, 0.0, 0.0, 0.0, 0.707, 0.707, 0.0, 0.707, 0.707, 0.707]
    [0.0, 0.0, -0.707, -0.707, -0.707, -0.707, -0.707, -0.707, -0.707, -0.707, -0.707]
    """

    name = "sas"
    scales_by_group_std = True
    reads_verdicts = True
    reads = ("logps", "step_numbers")

    ratio: float = Field(default=0.3, ge=0, le=1)  # share of a completion's steps
    # Of a step's log-probs; std: the largest deviation is the least sure
    rank: Literal["mean", "std"] = "mean"
    apply: Literal["both", "correct", "wrong"] = "both"  # completions that lose steps
    step: Literal["paragraph", "line"] = "paragraph"  # ended by an empty line, or by the end of a line

    @property
    def step_end(self) -> str:
        return "\n\n" if self.step == "paragraph" else "\n"

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        advantage_PG = normalise(reward.total_PG)
        return advantage_PG[..., None] * ~self._masked(rollouts)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        thinking_PGT = rollouts.step_PGT >= 0
        tokens = int(thinking_PGT.sum())
        last_PG = torch.nn.functional.pad(rollouts.step_PGT, (0, 1), value=-1).amax(dim=2)  # T may be 0
        masked = int((self._masked(rollouts) & thinking_PGT).sum())
        return {
            "sas_steps": (last_PG + 1).double().mean().item(),
            "sas_masked_share": masked / tokens if tokens else None,
        }

    def _masked(self, rollouts: Rollouts) -> Tensor:
        """bool (P, G, T): tokens of the steps that are not learned from."""
        masked_PGT = torch.zeros_like(rollouts.step_PGT, dtype=torch.bool)
        chosen_PG = torch.zeros_like(rollouts.right_PG)
        chosen_PG |= rollouts.right_PG if self.apply != "wrong" else False
        chosen_PG |= rollouts.wrong_PG if self.apply != "correct" else False
        for p, g in chosen_PG.nonzero().tolist():
            steps_T = rollouts.step_PGT[p, g].long()
            thinking_T = steps_T >= 0
            if not thinking_T.any():
                continue
            confidence = self._confidence(rollouts.logp_PGT[p, g][thinking_T].double(), steps_T[thinking_T])
            lost = self._lost(confidence, right=bool(rollouts.right_PG[p, g]))
            masked_PGT[p, g] = thinking_T & torch.isin(steps_T, lost)
        return masked_PGT

    def _confidence(self, logp: Tensor, steps: Tensor) -> Tensor:
        """float64 (steps,): of each step, from its tokens' log-probs."""
        tokens = torch.bincount(steps)
        mean = torch.bincount(steps, logp) / tokens
        if self.rank == "mean":
            return mean
        return -(torch.bincount(steps, (logp - mean[steps]).square()) / tokens).sqrt()

    def _lost(self, confidence: Tensor, *, right: bool) -> Tensor:
        """int64: numbers of the steps that a completion loses."""
        n = len(confidence)
        if right:
            order, lost = confidence.argsort(stable=True), min(math.ceil(self.ratio * n - 1e-9), n - 1)
        else:
            order = (-confidence).argsort(stable=True)
            lost = n - math.ceil((1 - self.ratio) * n - 1e-9)
        return order[:lost]

    def warnings(self, run_info: RunInfo) -> list[str]:
        return (
            ["advantage 'sas' with advantage.ratio=0 masks no step: it is GRPO's then"]
            if not self.ratio
            else []
        )
