"""CRISP: the policy learns to do unasked what it does when told to be concise."""

from pydantic import Field
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.base import Advantage, Forbidden, RunInfo, TeacherRule

INSTRUCTIONS = {
    "plain": "Solve the following math problem concisely and correctly. Be direct: avoid unnecessary elaboration, "
    "redundant steps, or restating the problem. Focus only on the key reasoning steps needed to reach the answer.",
    "careful": "Solve the following problem concisely, but above all correctly. Leave out what the answer does not "
    "need: repeated checks, detours, the problem in other words. A hard problem may take all the steps that it needs; "
    "a short wrong answer is worth nothing.",
}


class Crisp(Advantage):
    """A token's advantage is what the teacher would rather have: `A_t = log pi_T(y_t | x', y) - log pi(y_t | x, y)`.

    The teacher is an earlier copy of the policy that reads `instruction` in its system prompt. Over the policy's own
    tokens the expected gradient is that of minus `KL(pi || pi_T)` at each position: it needs no verdict and no group.

    Source: CRISP (OPSDC), arXiv 2603.05433, whose loss is that KL over the whole vocabulary; the sampled token's
    difference is unbiased for its gradient, with more variance and no (V,) tensor a token.

    Degenerate cases: a completion that does not fit the teacher's context, or is not valid, 0. Groups of one reward
    teach as others do, which breaks `flat_group`; right and wrong ones are not told apart (`right_above_wrong`).

    >>> from lenrl.strategies.examples import groups, show
    >>> import torch
    >>> carried = {"logps": torch.tensor([[[-.2, -1.5, -.1]]]), "teacher_logps": torch.tensor([[[-.5, -1., -.1]]])}
    >>> show(Crisp()(RewardResult(torch.zeros(1, 1)), groups([[3]], [[1]], carried=carried)))
    [[[-0.3, 0.5, 0.0]]]
    """

    name = "crisp"
    reads = ("logps", "teacher_logps")
    reads_rewards = False
    declares = ("flat_group", "right_above_wrong")
    needs_flat_groups = True
    forbids = (
        Forbidden(
            "mask_truncated_completions",
            True,
            "a completion that was cut off learns to be concise too; leave it out",
        ),
    )

    every: int = Field(default=50, ge=0)  # optimizer steps between copies; 0: the start policy for good
    instruction: str = Field(default="careful", min_length=1)  # plain, careful, or a text

    @property
    def teacher(self) -> TeacherRule:
        return TeacherRule(INSTRUCTIONS.get(self.instruction, self.instruction), self.every)

    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        gap_PGT = _gap(rollouts)
        return gap_PGT.masked_fill(gap_PGT.isnan() | reward.total_PG.isnan()[..., None], 0.0)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        gap_PGT = _gap(rollouts)
        kept_PGT = groups.inside(rollouts.length_PG, gap_PGT.shape[2])
        untaught_PG = (kept_PGT & gap_PGT.isnan()).any(dim=2)
        return {
            "crisp_kl": groups.average(-gap_PGT, kept_PGT & ~gap_PGT.isnan()),
            "crisp_untaught_share": untaught_PG.double().mean().item(),
        }

    def errors(self, run_info: RunInfo) -> list[str]:
        hot = run_info.temperature not in (None, 1.0)
        settings = [
            *([f"trainer.temperature={run_info.temperature:g}"] if hot else []),
            *run_info.reshaped_by,
        ]
        if not settings:
            return []
        return [
            "advantage 'crisp' estimates the KL by tokens that the policy itself draws, at temperature 1, and "
            f"{', '.join(settings)} samples otherwise: leave such settings out"
        ]

    def warnings(self, run_info: RunInfo) -> list[str]:
        if run_info.updates_per_rollout == 1:
            return []
        return [
            f"advantage 'crisp' with {run_info.updates_per_rollout} updates a rollout: from the second one on its "
            "gradient is of a policy that has moved; update.per_rollout=1 is the method's"
        ]


def _gap(rollouts: Rollouts) -> Tensor:
    """float64 (P, G, T): the teacher's log-probs over the policy's; NaN without a teacher and past the kept tokens."""
    return rollouts.teacher_logp_PGT.double() - rollouts.logp_PGT.double()
