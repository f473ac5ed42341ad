"""The six strategies of a method, and what it needs since one of them does."""

from dataclasses import dataclass

from lenrl.errors import BadInput
from lenrl.rollouts import READABLE
from lenrl.strategies.base import (
    Advantage,
    Budget,
    Forbidden,
    Objective,
    Reward,
    Sampling,
    Strategy,
    Truncation,
)
from lenrl.strategies.functions import RewardFunction

SLOTS = ("budget", "truncation", "reward", "advantage", "objective", "sampling")


@dataclass(frozen=True)
class Slots:
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

    def keeps_teacher(self, *, adapters: bool) -> bool:
        """Weights of a teacher are held beside the policy's: the start policy of an adapter is the model without it."""
        rule = self.advantage.teacher if "teacher_logps" in self.reads else None
        return rule is not None and not (adapters and rule.every == 0)
