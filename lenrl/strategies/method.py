"""A method: six strategies, and the pure pipeline that training and `lenrl score` share.

Every value that a strategy returns is checked here, and every record it sees is a copy: a strategy of a third
party can neither edit the training data nor let a wrong shape or an infinite reward through.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lenrl.errors import BadInput
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies import agreement, contract
from lenrl.strategies.base import NonfiniteReward, Objective, PromptBudget, RunInfo
from lenrl.strategies.copies import copied, reward_copied
from lenrl.strategies.faults import BadStrategy, calling, named
from lenrl.strategies.slots import SLOTS, Slots

__all__ = ["SLOTS", "BadStrategy", "Method", "NonfiniteReward"]


class Method(Slots):
    """The strategies of a recipe, called in the pipeline's order."""

    def budgets(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        """Prompt budgets, one a row (groups adjacent, G rows a group), checked.

        Raises:
            BadStrategy: not one prompt budget a row, a budget or cap that is not positive, or words that are no text.
        """
        with calling(self.budget):
            given = self.budget(tuple(prompt_ids), copy.deepcopy(list(columns)), step, run_info)
        return contract.prompt_budgets(named(self.budget), given, len(prompt_ids))

    def truncate(self, rollouts: Rollouts) -> Tensor:
        """Kept lengths, int64 (P, G). The caller verifies again what was cut.

        Raises:
            BadStrategy: wrong type or shape, or a length outside [0, length].
        """
        with calling(self.truncation):
            kept = self.truncation(copied(rollouts, self.truncation))
        return contract.kept_lengths(named(self.truncation), kept, rollouts)

    def rewards(self, rollouts: Rollouts, nonfinite: Literal["fail", "drop"] = "fail") -> RewardResult:
        """Rewards in float64. NaN where the verdict is unknown: the row is not valid.

        `nonfinite="drop"` turns faulty rewards into NaN and counts them in `RewardResult.dropped`.

        Raises:
            BadStrategy: wrong type or shape, of the total or of a part.
            NonfiniteReward: NaN where the verdict is known, infinite, or above 1e6, unless dropped.
        """
        with calling(self.reward):
            value = self.reward(copied(rollouts, self.reward))
        result = contract.reward_result(named(self.reward), value, rollouts)
        if self.added:
            result = self._with_functions(result, rollouts)
        return contract.finite(named(self.reward), result, rollouts, nonfinite)

    def _with_functions(self, reward: RewardResult, rollouts: Rollouts) -> RewardResult:
        """The reward with what the functions gave, each times its weight; None adds nothing, as in TRL."""
        total_PG, tokens = reward.total_PG, reward.token_PGT
        parts = dict(reward.parts)
        if not parts and self.reward.name != "none":
            parts[self.reward.name] = total_PG
        for function in self.added:
            if function.name in parts:
                raise BadInput(
                    f"{function} has the name of another part of reward {self.reward.name!r}; rename the function"
                )
            if function.weight == 0:  # logged, and no part of the reward
                continue
            given_PG = rollouts.parts[function.name].to(torch.float64)
            parts[function.name] = function.weight * given_PG.nan_to_num(nan=0.0, posinf=float("inf"))
            total_PG = total_PG + parts[function.name]
        if tokens is not None:
            tokens = contract.added_at_end(tokens, total_PG - reward.total_PG, rollouts)
        return RewardResult(total_PG, parts, token_PGT=tokens)

    def advantages(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        """Advantages in float64, (P, G) or (P, G, T); 0 for rows that are not valid.

        Raises:
            BadStrategy: wrong type or shape, or an advantage that is not finite.
        """
        where = named(self.advantage)
        if self.advantage.needs_logp and rollouts.mean_logp_PG is None:
            raise BadInput(
                f"{where} needs mean_logp, the mean token log-prob under the sampling policy, of every row"
            )
        with calling(self.advantage):
            advantage = self.advantage(reward_copied(reward), copied(rollouts, self.advantage))
        advantage = contract.of_rows_or_tokens(where, advantage, rollouts).to(torch.float64)
        invalid = reward.total_PG.isnan()
        advantage = advantage.masked_fill(invalid if advantage.dim() == 2 else invalid[..., None], 0.0)
        if not advantage.isfinite().all():
            p, g = (~advantage.isfinite()).nonzero()[0].tolist()[:2]
            raise BadStrategy(f"{where} is not finite for prompt {rollouts.prompt_ids[p]!r}, completion {g}")
        return advantage

    def factor(self) -> float:
        """Prompts to sample over prompts to keep, at least 1.

        Raises:
            BadStrategy: it is none.
        """
        with calling(self.sampling):
            return contract.factor(named(self.sampling), self.sampling.factor())

    def choose(self, problems: Mapping[str, Mapping[str, Any]], turn: int) -> list[str]:
        """The prompts of a pass over the data, from the columns of all training problems by id.

        Raises:
            BadStrategy: no prompt, or one that is no training problem's.
        """
        with calling(self.sampling):
            chosen = list(self.sampling.choose(tuple(problems), copy.deepcopy(list(problems.values())), turn))
        strangers = [name for name in chosen if not isinstance(name, str) or name not in problems]
        if strangers or not chosen:
            found = f"chose {strangers[0]!r}, which is no" if strangers else "chose no"
            raise BadStrategy(f"{named(self.sampling)} {found} prompt of {len(problems)} in pass {turn + 1}")
        return chosen

    def row_values(self, reward: RewardResult, rollouts: Rollouts) -> dict[str, Tensor]:
        """Numbers that the objective reads of rows, by name, float32, (P, G) or (P, G, T) with 0 past the kept tokens.

        Raises:
            BadStrategy: wrong type or shape, or a number that is not finite.
        """
        if type(self.objective).row_values is Objective.row_values:
            return {}
        with calling(self.objective):
            made = self.objective.row_values(copied(rollouts, self.objective), reward_copied(reward))
        return contract.row_values(named(self.objective), made, rollouts)

    def signal(self, rollouts: Rollouts, reward: RewardResult) -> Tensor:
        """bool (P,): the groups that teach something, in the words of the sampling strategy.

        Raises:
            BadStrategy: wrong type or shape.
        """
        with calling(self.sampling):
            signal_P = self.sampling.signal(copied(rollouts, self.sampling), reward_copied(reward))
        return contract.of_groups(f"{named(self.sampling)}.signal", signal_P, rollouts)

    def observe(self, rollouts: Rollouts, reward: RewardResult | None = None) -> None:
        """Let every strategy update its state; the reward is computed again where the caller has none at hand."""
        result = self.rewards(rollouts, "drop") if reward is None else reward
        for strategy in self.slots.values():
            with calling(strategy):
                strategy.observe(copied(rollouts, strategy), reward_copied(result))

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        """Figures of a batch that was observed, and of the strategies' states, for the logs.

        Raises:
            BadStrategy: a figure that is neither a plain number nor None.
        """
        figures: dict[str, float | None] = {}
        for strategy in self.slots.values():
            with calling(strategy):
                given = strategy.metrics(copied(rollouts, strategy), reward_copied(reward))
            figures |= contract.figures(named(strategy), given)
        return figures

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The strategies' states by slot, plain JSON; slots without state are left out."""
        return {slot: state for slot, strategy in self.slots.items() if (state := strategy.state_dict())}

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """`state_dict`, as a value that no `observe` edits."""
        return {slot: state for slot, strategy in self.slots.items() if (state := strategy.snapshot())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave.

        Raises:
            BadInput: an unknown slot, or a state that its strategy refuses.
        """
        unknown = sorted(set(state) - set(self.slots))
        if unknown:
            raise BadInput(f"strategy state names {unknown}; there are {sorted(self.slots)}")
        for slot, strategy in self.slots.items():
            try:
                strategy.load_state_dict(state.get(slot, {}))
            except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
                raise BadInput(f"strategy state of {slot} {strategy.name!r} is refused: {error}") from error

    def errors(self, run_info: RunInfo) -> list[str]:
        """Sentences on what cannot work in that run: each strategy's own errors, and what does not fit together."""
        return agreement.errors(self, run_info)

    def warnings(self, run_info: RunInfo) -> list[str]:
        """Sentences on what will do less, or other, than its user expects."""
        return agreement.warnings(self, run_info)
