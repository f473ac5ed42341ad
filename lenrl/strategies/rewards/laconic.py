"""LACONIC: a capped cost of excess tokens, with a weight that follows the mean length."""

from pydantic import Field

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import RunInfo
from lenrl.strategies.dual import DualReward


class Laconic(DualReward):
    """Tokens above the target cost `lam` a target's length, at most `cap`, and truncated completions `hit`.

    `r = c - min(lam max(0, L / target - 1), cap) - hit [truncated]`, right or wrong; parts `correct` and `length`.
    After the batch `lam <- clip(lam + lr (mean L / target - 1), low, high)` over its valid rows.

    Source: LACONIC, arXiv 2602.14468, with the constants of its released 1.5B script; `hit` and `low` are in the code
    only.

    Degenerate cases: a batch without valid rows moves nothing. State: lam.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> import torch
    >>> batch = GROUP.with_(truncated_PG=torch.tensor([[False, False, False, True]]))
    >>> show(Laconic(lam=0.1)(batch).total_PG)
    [[1.0, 0.9667, -0.1, 0.7333]]
    """

    name = "laconic"

    target: float = Field(default=1500, gt=0)  # tokens
    lam: float = Field(default=0, ge=0)  # at first
    lr: float = Field(default=0.002, ge=0)  # of lam, a batch
    low: float = Field(default=0, ge=0)
    high: float = Field(default=0.1, ge=0)
    cap: float = Field(default=0.4, ge=0)  # most that excess tokens cost
    hit: float = Field(default=0.1, ge=0)  # cost of a truncated completion

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        excess = (rollouts.tokens_PG / self.target - 1).clamp(min=0.0)
        length = -(self.weight * excess).clamp(max=self.cap) - self.hit * rollouts.truncated_PG.double()
        return RewardResult.of_parts(correct=rollouts.correct_PG, length=length)

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        mean = groups.average(rollouts.tokens_PG, rollouts.known_PG)
        if mean is not None:
            self.move(mean / self.target - 1)

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        cost = self.weight * (rollouts.tokens_PG / self.target - 1)
        return {
            "laconic_lam": self.weight,
            "laconic_capped_share": groups.average(cost >= self.cap, rollouts.known_PG),
        }

    def warnings(self, run_info: RunInfo) -> list[str]:
        messages = [warnings.ungated(self.name)]
        if self.cap + self.hit >= 1:
            messages.append(
                f"reward.cap={self.cap:g} and reward.hit={self.hit:g} of 'laconic' add up to 1 or more: a long right "
                "answer can be paid less than a short wrong one; lower them"
            )
        return messages
