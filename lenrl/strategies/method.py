"""A method: six strategies, and the pure pipeline that training and `lenrl score` share.

Every value that a strategy returns is checked here, and every record it sees is a copy: a strategy of a third
party can neither edit the training data nor let a wrong shape or an infinite reward through.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from lenrl.errors import BadInput
from lenrl.rollouts import READABLE, RewardResult, Rollouts
from lenrl.strategies.base import (
    MAX_REWARD,
    Advantage,
    Budget,
    Forbidden,
    NonfiniteReward,
    Objective,
    PromptBudget,
    Reward,
    RunInfo,
    Sampling,
    Strategy,
    Truncation,
)
from lenrl.strategies.contract import (
    added_at_end,
    check_shape,
    copied,
    of_rows_or_tokens,
    reward_copied,
    token_rewards,
)
from lenrl.strategies.faults import BadStrategy, calling, named
from lenrl.strategies.functions import RewardFunction

SLOTS = ("budget", "truncation", "reward", "advantage", "objective", "sampling")


@dataclass(frozen=True)
class Method:
    """The six slots of a recipe, filled, and the reward functions whose parts are added to its reward.

    Raises:
        BadInput: two functions of one name, or two that give the verdict.
    """

    budget: Budget
    truncation: Truncation
    reward: Reward
    advantage: Advantage
    objective: Objective
    sampling: Sampling
    functions: tuple[RewardFunction, ...] = ()

    def __post_init__(self) -> None:
        names = [function.name for function in self.functions]
        for name in names:
            if names.count(name) > 1:
                raise BadInput(
                    f"two reward functions are named {name!r}; a part of the reward has its own name"
                )
        judges = [function.name for function in self.functions if function.verdict]
        if len(judges) > 1:
            raise BadInput(f"reward functions {judges} all have verdict=true; one can give the verdict")

    @property
    def slots(self) -> dict[str, Strategy]:
        """The strategies by slot, in the pipeline's order."""
        return {slot: getattr(self, slot) for slot in SLOTS}

    @property
    def added(self) -> tuple[RewardFunction, ...]:
        """The functions whose values are parts of the reward."""
        return tuple(function for function in self.functions if not function.verdict)

    @property
    def judge(self) -> RewardFunction | None:
        """The function that gives the verdict in place of the verifier's."""
        return next((function for function in self.functions if function.verdict), None)

    @property
    def needs_gold(self) -> bool:
        """Verdicts are read, and only a gold answer can give them."""
        return self.reads_verdicts and self.judge is None

    @property
    def needs_logp(self) -> bool:
        """A strategy reads rollout-time log-probs."""
        return self.advantage.needs_logp or "logps" in self.reads

    @property
    def reads_verdicts(self) -> bool:
        """A strategy needs to know what is correct."""
        return any(strategy.reads_verdicts for strategy in self.slots.values())

    @property
    def reads_columns(self) -> tuple[str, ...]:
        """Row fields that its strategies need."""
        return tuple(dict.fromkeys(name for s in self.slots.values() for name in s.reads_columns))

    @property
    def reads(self) -> tuple[str, ...]:
        """Parts of the record that its strategies read."""
        named = {name for strategy in self.slots.values() for name in strategy.reads}
        return tuple(name for name in READABLE if name in named)

    @property
    def forbids(self) -> tuple[Forbidden, ...]:
        """Trainer settings that would defeat one of its strategies."""
        return tuple(entry for strategy in self.slots.values() for entry in strategy.forbids)

    def budgets(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        """Prompt budgets, one a row (groups adjacent, G rows a group), checked.

        Raises:
            BadStrategy: not one prompt budget a row, or a budget or cap that is not positive.
        """
        with calling(self.budget):
            prompt_budgets = self.budget(tuple(prompt_ids), copy.deepcopy(list(columns)), step, run_info)
        where = named(self.budget)
        if len(prompt_budgets) != len(prompt_ids):
            raise BadStrategy(f"{where} returned {len(prompt_budgets)} budgets for {len(prompt_ids)} rows")
        for row, budget in enumerate(prompt_budgets):
            if not isinstance(budget, PromptBudget):
                raise BadStrategy(
                    f"{where} returned {type(budget).__name__} for row {row}, expected PromptBudget"
                )
            if budget.budget is not None and not 0 < budget.budget < float("inf"):
                raise BadStrategy(
                    f"{where} gave row {row} a budget of {budget.budget} tokens, must be above 0"
                )
            if budget.cap is not None and (type(budget.cap) is not int or budget.cap < 1):
                raise BadStrategy(
                    f"{where} gave row {row} a cap of {budget.cap!r}, must be an integer of at least 1"
                )
        return list(prompt_budgets)

    def truncate(self, rollouts: Rollouts) -> Tensor:
        """Kept lengths, int64 (P, G). The caller verifies again what was cut.

        Raises:
            BadStrategy: wrong type or shape, or a length outside [0, length].
        """
        with calling(self.truncation):
            kept = self.truncation(copied(rollouts, self.truncation))
        where = named(self.truncation)
        check_shape(where, kept, rollouts.length_PG.shape)
        if kept.is_floating_point():
            raise BadStrategy(f"{where} returned {kept.dtype}, expected int64 (whole tokens)")
        kept = kept.to(torch.int64)
        outside = (kept < 0) | (kept > rollouts.length_PG)
        if outside.any():
            p, g = outside.nonzero()[0].tolist()
            raise BadStrategy(
                f"{where} keeps {int(kept[p, g])} of {int(rollouts.length_PG[p, g])} tokens "
                f"(group {p}, completion {g}): must be between 0 and the length"
            )
        return kept

    def rewards(self, rollouts: Rollouts, nonfinite: Literal["fail", "drop"] = "fail") -> RewardResult:
        """Rewards in float64. NaN where the verdict is unknown: the row is not valid.

        `nonfinite="drop"` turns faulty rewards into NaN and counts them in `RewardResult.dropped`.

        Raises:
            BadStrategy: wrong type or shape, of the total or of a part.
            NonfiniteReward: NaN where the verdict is known, infinite, or above 1e6, unless dropped.
        """
        where = named(self.reward)
        with calling(self.reward):
            value = self.reward(copied(rollouts, self.reward))
        result = value if isinstance(value, RewardResult) else RewardResult(value)
        check_shape(where, result.total_PG, rollouts.length_PG.shape)
        parts = {}
        for name, part in result.parts.items():
            check_shape(f"part {name!r} of {where}", part, rollouts.length_PG.shape)
            parts[str(name)] = part.detach().to(torch.float64)
        total = result.total_PG.detach().to(torch.float64)
        own, token_PGT = total, None
        if result.token_PGT is not None:
            token_PGT = token_rewards(where, result.token_PGT, total, rollouts)
        if self.added:
            total, parts = self._with_parts(total, parts, rollouts)
        faulty = (total.isnan() & rollouts.known_PG) | (total.abs() > MAX_REWARD)
        if token_PGT is not None:
            token_PGT = added_at_end(token_PGT, total - own, rollouts) if self.added else token_PGT
            faulty |= (token_PGT.abs() > MAX_REWARD).any(dim=2)
        if not faulty.any():
            return RewardResult(total, parts, token_PGT=token_PGT)
        if nonfinite == "drop":
            if token_PGT is not None:
                token_PGT = token_PGT.masked_fill(faulty[..., None], float("nan"))
            total = total.masked_fill(faulty, float("nan"))
            return RewardResult(total, parts, int(faulty.sum()), token_PGT)
        p, g = faulty.nonzero()[0].tolist()
        raise NonfiniteReward(
            f"{where} paid {total[p, g].item()} for prompt {rollouts.prompt_ids[p]!r}, completion {g}: must "
            f"be finite and at most {MAX_REWARD:g}; repair it, or leave such rows out: guard.nonfinite=drop"
        )

    def _with_parts(
        self, total_PG: Tensor, parts: dict[str, Tensor], rollouts: Rollouts
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The reward with what the functions gave, each times its weight; None adds nothing, as in TRL."""
        parts = parts or {self.reward.name: total_PG}
        for function in self.added:
            if function.name in parts:
                raise BadInput(
                    f"{function} has the name of another part of reward {self.reward.name!r}; rename the function"
                )
            given_PG = rollouts.parts[function.name].to(torch.float64)
            parts[function.name] = function.weight * given_PG.nan_to_num(nan=0.0, posinf=float("inf"))
            total_PG = total_PG + parts[function.name]
        return total_PG, parts

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
        advantage = of_rows_or_tokens(where, advantage, rollouts).to(torch.float64)
        invalid = reward.total_PG.isnan()
        advantage = advantage.masked_fill(invalid if advantage.dim() == 2 else invalid[..., None], 0.0)
        if not advantage.isfinite().all():
            p, g = (~advantage.isfinite()).nonzero()[0].tolist()[:2]
            raise BadStrategy(f"{where} is not finite for prompt {rollouts.prompt_ids[p]!r}, completion {g}")
        return advantage

    def choose(self, problems: Mapping[str, Mapping[str, Any]], turn: int) -> list[str]:
        """The prompts of a pass over the data, from the columns of all training problems by id.

        Raises:
            BadStrategy: no prompt, or one that is no training problem's.
        """
        with calling(self.sampling):
            chosen = list(self.sampling.choose(tuple(problems), copy.deepcopy(list(problems.values())), turn))
        strangers = [name for name in chosen if name not in problems]
        if strangers or not chosen:
            found = f"chose {strangers[0]!r}, which is no" if strangers else "chose no"
            raise BadStrategy(f"{named(self.sampling)} {found} prompt of {len(problems)} in pass {turn + 1}")
        return chosen

    def keeps_teacher(self, *, adapters: bool) -> bool:
        """Weights of a teacher are held beside the policy's: the start policy of an adapter is the model without it."""
        rule = self.advantage.teacher if "teacher_logps" in self.reads else None
        return rule is not None and not (adapters and rule.every == 0)

    def row_values(self, reward: RewardResult, rollouts: Rollouts) -> dict[str, Tensor]:
        """Numbers that the objective reads of rows, by name, float32, (P, G) or (P, G, T) with 0 past the kept tokens.

        Raises:
            BadStrategy: wrong type or shape, or a number that is not finite.
        """
        where, values = named(self.objective), {}
        if type(self.objective).row_values is Objective.row_values:
            return {}
        with calling(self.objective):
            made = self.objective.row_values(copied(rollouts, self.objective), reward_copied(reward))
        for name, value in made.items():
            place = f"row value {name!r} of {where}"
            values[name] = of_rows_or_tokens(place, value, rollouts).to(torch.float32)
            if not values[name].isfinite().all():
                raise BadStrategy(f"{place} is not finite: give rows that do not count a number, such as 0")
        return values

    def signal(self, rollouts: Rollouts, reward: RewardResult) -> Tensor:
        """bool (P,): the groups that teach something, in the words of the sampling strategy.

        Raises:
            BadStrategy: wrong type or shape.
        """
        with calling(self.sampling):
            signal_P = self.sampling.signal(copied(rollouts, self.sampling), reward_copied(reward))
        if (
            not isinstance(signal_P, Tensor)
            or signal_P.dtype != torch.bool
            or signal_P.shape != (rollouts.P,)
        ):
            raise BadStrategy(f"{named(self.sampling)}.signal: expected a bool tensor of {rollouts.P} groups")
        return signal_P

    def observe(self, rollouts: Rollouts, reward: RewardResult | None = None) -> None:
        """Let every strategy update its state; the reward is computed again where the caller has none at hand."""
        result = self.rewards(rollouts, "drop") if reward is None else reward
        for strategy in self.slots.values():
            with calling(strategy):
                strategy.observe(copied(rollouts, strategy), reward_copied(result))

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        """Figures of a batch that was observed, and of the strategies' states, for the logs."""
        figures: dict[str, float | None] = {}
        for strategy in self.slots.values():
            with calling(strategy):
                figures |= strategy.metrics(copied(rollouts, strategy), reward_copied(reward))
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
        known = self._known(run_info)
        faults = [message for strategy in self.slots.values() for message in strategy.errors(known)]
        if self.reward.reads_budget and not self.budget.gives_budget:
            faults.append(
                f"reward {self.reward.name!r} compares lengths with a budget, budget {self.budget.name!r} "
                "gives none; choose budget=curriculum or budget=column"
            )
        for slot, strategy in self.slots.items():
            for name in {"logps", "teacher_logps"}.intersection(strategy.reads):
                if slot in ("budget", "truncation", "reward"):
                    faults.append(
                        f"{slot} {strategy.name!r} reads {name!r}, which are known once rewards have been given; only "
                        "an advantage can read them"
                    )
        if self.advantage.needs_flat_groups and self.sampling.selects:
            faults.append(
                f"sampling {self.sampling.name!r} leaves out groups of one reward, and advantage "
                f"{self.advantage.name!r} learns from all; choose sampling=uniform"
            )
        if not self.advantage.reads_rewards:
            faults += [
                f"{function} adds to rewards of which advantage {self.advantage.name!r} reads only whether they are "
                f"valid: set reward_functions.{function.name}.weight=0, which only logs it, or choose another advantage"
                for function in self.added
                if function.weight
            ]
        for name in self.objective.as_reward:
            own = getattr(self.objective, name)
            faults += [
                f"objective.{name}={own} and {name}={value} of reward {rule.name!r} differ, so that one learns what "
                "the other pays for elsewhere; set both to one value"
                for rule in self.reward.addends
                if (value := getattr(rule, name, own)) != own
            ]
        if "teacher_logps" in self.reads and known.training and self.advantage.teacher is None:
            faults.append(
                f"advantage {self.advantage.name!r} has no teacher whose log-probs could be read: give its class a "
                "property `teacher`"
            )
        if known.columns is not None:
            faults += [
                f"{function.place} reads the column {name!r}; the data has {sorted(known.columns)} and `answer`"
                for function in self.functions
                for name in function.reads_columns
                if name not in {*known.columns, *self.budget.gives, "answer"}
            ]
            missing = sorted(set(self.reads_columns) - set(self.budget.gives) - known.columns)
            if missing:
                faults.append(
                    f"the method needs the row fields {missing}; budget {self.budget.name!r} gives "
                    f"{sorted(self.budget.gives)} and the data has {sorted(known.columns)}"
                )
        return faults

    def warnings(self, run_info: RunInfo) -> list[str]:
        """Sentences on what will do less, or other, than its user expects."""
        known = self._known(run_info)
        warnings = [message for strategy in self.slots.values() for message in strategy.warnings(known)]
        if self.advantage.reads_token_rewards and not self.reward.rewards_tokens:
            warnings.append(
                f"advantage {self.advantage.name!r} places rewards at tokens, and reward {self.reward.name!r} rewards "
                "whole completions: it is GRPO's then"
            )
        if not self.advantage.reads_rewards and self.reward.name not in ("correctness", "none"):
            warnings.append(
                f"advantage {self.advantage.name!r} reads of rewards only whether they are valid: what reward "
                f"{self.reward.name!r} pays is logged, and shapes no advantage"
            )
        return warnings

    def _known(self, run_info: RunInfo) -> RunInfo:
        return replace(
            run_info,
            scaled_by_group_std=self.advantage.scales_by_group_std,
            mean_effort=getattr(self.budget, "mean_effort", None),
        )
