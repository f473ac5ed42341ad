"""e1: a right answer counts if it took less than the asked share of the prompt's usual length."""

import math
from typing import Literal

import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import groups, warnings
from lenrl.strategies.base import RunInfo
from lenrl.strategies.columns import tokens as above_zero
from lenrl.strategies.prompt_memory import PromptMemory


class EffortReward(PromptMemory):
    """`r = c [L < e T]`, e the row field `effort`, T the prompt's mean length, right or wrong.

    `reference=last`: T of the prompt's last visit; `first`: of its first; `group`: of this very group.

    Source: e1, arXiv 2510.27042, of which only the abstract and a summary were to be had: the estimator of T is ours.

    Degenerate cases: no T yet: `r = c`. Under `group` a small e leaves hardly a row that passes, and the group is flat.
    State (not `group`): T of each prompt.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> batch = GROUP.with_(columns={"effort": ((0.8,) * 4,)})
    >>> rule = EffortReward(); rule.load_state_dict({"length": {"q0": 3000.0}})
    >>> show(rule(batch)), show(EffortReward(reference="group")(batch))
    ([[1.0, 1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0, 0.0]])
    """

    name = "effort"
    remembered = "length"
    reads_columns = ("effort",)

    reference: Literal["last", "first", "group"] = "last"

    @property
    def remembers(self) -> bool:
        """Lengths of earlier visits are the reference."""
        return self.reference != "group"

    def __call__(self, rollouts: Rollouts) -> Tensor:
        usual = self._usual(rollouts)
        limit = torch.where(usual.isnan(), float("inf"), above_zero(rollouts, "effort") * usual)
        return rollouts.correct_PG * (rollouts.tokens_PG < limit).double()

    def _usual(self, rollouts: Rollouts) -> Tensor:
        """(P, 1): T in tokens; NaN where there is none yet."""
        if self.remembers:
            return self.recalled(rollouts)
        return groups.mean(rollouts.tokens_PG, rollouts.known_PG)

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        if not self.remembers:
            return
        means = groups.mean(rollouts.tokens_PG, rollouts.known_PG).squeeze(1).tolist()
        for prompt, tokens in zip(rollouts.prompt_ids, means, strict=True):
            known = not math.isnan(tokens)  # the group has a valid row
            if known and (self.reference == "last" or prompt not in self._tokens):
                self._tokens[prompt] = tokens

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        usual = self._usual(rollouts)
        return {"effort_reference": groups.average(usual, ~usual.isnan())}

    def warnings(self, run_info: RunInfo) -> list[str]:
        if not self.remembers:
            return []
        messages = warnings.inert("reward 'effort'", "a prompt's usual length", run_info)
        if self.reference == "last" and (run_info.mean_effort is None or run_info.mean_effort < 1):
            messages.append(
                "reward.reference=last of 'effort': who obeys efforts below 1 on average shortens the next visit's "
                "reference, and the target shrinks until accuracy stops it; reward.reference=first can't"
            )
        return messages
