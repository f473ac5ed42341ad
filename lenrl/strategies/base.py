"""The six slots of a method, one abstract class each.

A strategy is a frozen pydantic model: its fields are the recipe's options, bounded, unknown ones refused.
It is pure on tensors: it never writes to its inputs, and it sees whole groups of the whole generation batch.
State, where a rule has any, is plain JSON, changed only in `observe` and identical on every process.
"""

import abc
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict
from torch import Tensor

from lenrl.errors import RunFailed
from lenrl.options import Options
from lenrl.rollouts import READABLE, Readable, RewardResult, Rollouts
from lenrl.strategies import groups
from lenrl.strategies.micro_batch import BATCH_READABLE, BatchReadable, MicroBatch, StepTotals

MAX_REWARD = 1e6  # above it a reward is a fault: it would drown its whole group


class NonfiniteReward(RunFailed):
    """A reward is NaN where the verdict is known, infinite, or above 1e6."""


@dataclass(frozen=True)
class RunInfo:
    """Facts of the run for a strategy's start-up check (None: not known, as in `lenrl score`)."""

    num_generations: int | None  # G
    max_length: int  # L_max, tokens
    max_steps: int | None = None  # optimizer steps
    updates_per_rollout: int = 1
    micro_batch_rows: int | None = None  # of one process; None: not known
    rollout_rows: int | None = None  # completions a rollout, of all processes; None: not known
    temperature: float | None = None  # of the sampling; None: not known
    # Settings by which tokens are drawn otherwise than the temperature says
    reshaped_by: tuple[str, ...] = ()
    scaled_by_group_std: bool = False  # the advantage divides by the group's standard deviation
    parts_weigh_alike: bool = False  # the advantage takes each part of the reward in its own scale
    mean_effort: float | None = None  # of the row field `effort` that the budget gives; None: not known
    training: bool = True  # False in `lenrl score`: lengths come from a file, nothing is sampled
    columns: frozenset[str] | None = None  # row fields that the data has; None: not known
    visits: float | None = None  # times that the run samples a training prompt, on average; None: not known


@dataclass(frozen=True)
class Forbidden:
    """A GRPOConfig field that must not be `value` together with a strategy; `vllm_*` counts only with `use_vllm`."""

    field: str
    value: Any
    why: str


class Strategy(Options, abc.ABC):
    """Base of all strategies; `name` is what a recipe calls it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ignored_types=(type(None),))

    slot: ClassVar[str]
    name: ClassVar[str]
    reads_verdicts: ClassVar[bool] = False  # needs `correct_PG`; without gold answers it is refused
    reads_columns: ClassVar[tuple[str, ...]] = ()  # row fields it needs, e.g. ("target",)
    reads: ClassVar[tuple[Readable, ...]] = ()  # parts of the record that are carried for it, e.g. ("text",)
    forbids: ClassVar[tuple[Forbidden, ...]] = ()  # trainer settings that would defeat it
    declares: ClassVar[tuple[str, ...]] = ()  # common properties (docs/methods/README.md) that it breaks

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a class whose `reads` is no tuple of names in `READABLE`, and a tuple of one without its comma."""
        _require_names(cls, "reads", READABLE)
        for attribute in ("reads_columns", "declares", "gives", "refuses", "as_reward"):
            value = cls.__dict__.get(attribute)
            if isinstance(value, str):
                raise TypeError(
                    f"{cls.__name__}.{attribute} = {value!r}: must be a tuple, such as ({value!r},)"
                )

    @property
    def needs_equal_groups(self) -> bool:
        """It compares groups, or its state is of batches: `lenrl score` can't score those of each size apart."""
        return "groups_leak" in self.declares or type(self).observe is not Strategy.observe

    def errors(self, run_info: RunInfo) -> list[str]:
        """Reasons why this cannot work in that run: value found, rule, remedy. Empty: it can."""
        return []

    def warnings(self, run_info: RunInfo) -> list[str]:
        """Sentences on what will do less, or other, than its user expects."""
        return []

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        """Update the state from a finished generation batch (all its groups); the same on every process."""

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        """Figures for the logs of a batch that was observed, and of the state: the same names for every
        batch, None where there is nothing to average. `docs/metrics.md` says what each name means.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The state as plain JSON."""
        return {}

    def snapshot(self) -> dict[str, Any]:
        """`state_dict`, as a value that no `observe` edits; a rule with a large state may share what it replaces."""
        return copy.deepcopy(self.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        if state:
            raise ValueError(f"{self.slot} {self.name!r} keeps no state, found {sorted(state)}")


def _require_names(kind: type[Strategy], attribute: str, among: tuple[str, ...]) -> None:
    """Refuse a class whose own attribute is no tuple of some of these names."""
    value = kind.__dict__.get(attribute, ())
    if isinstance(value, property):  # of a strategy that is made of others
        return
    if isinstance(value, str) or any(name not in among for name in value):
        raise TypeError(
            f"{kind.__name__}.{attribute} = {value!r}: must be a tuple of some of {among}, such as ({among[-1]!r},)"
        )


@dataclass(frozen=True)
class PromptBudget:
    """Words for the prompt, a cap, and fields for the reward, of one row."""

    hint: str | None = None  # text added to the prompt, already filled in
    budget: float | None = None  # tokens, what rewards compare with (`budget_PG`)
    cap: int | None = None  # tokens, hard limit on generation
    columns: Mapping[str, Any] = field(default_factory=dict)  # row fields (`target`, `level`, ...)
    system: str | None = None  # text added to the system prompt, already filled in
    # Text that the completion begins with; `{think}`: the thinking, if it is not open yet
    forced: str | None = None


class Budget(Strategy):
    """Decides before sampling what is added to each prompt, and how long its completion may get."""

    slot: ClassVar[str] = "budget"
    gives: ClassVar[tuple[str, ...]] = ()  # row fields it puts into `PromptBudget.columns`
    gives_budget: ClassVar[bool] = True  # fills `PromptBudget.budget`

    @abc.abstractmethod
    def __call__(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        """One prompt budget a row. `prompt_ids` and `columns` have a row each, groups adjacent, G rows a group.

        `step` is the number of completed optimizer steps. With `reads = ("prompt",)` a row's columns have the
        problem's text under `prompt`, with `"gold"` its gold answer (None: there is none) under `gold`.
        """

    def visible(self, columns: Mapping[str, Any], *, prompt: str, gold: str | None) -> dict[str, Any]:
        """The columns of a row as this budget gets them, from the data's and the problem's prompt and gold answer."""
        asked = {"prompt": prompt, "gold": gold}
        return {**columns, **{name: value for name, value in asked.items() if name in self.reads}}

    def evaluation(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], step: int, run_info: RunInfo
    ) -> list[PromptBudget]:
        """Budgets of rows outside training: none, unless the rule says otherwise."""
        return [PromptBudget() for _ in prompt_ids]

    def ways(
        self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], run_info: RunInfo
    ) -> dict[str, list[PromptBudget]]:
        """Ways of asking in evaluations with the budget's words, by name, a prompt budget a row: as at the end of
        training, or each of the words that a rule chooses from."""
        return {"words": self(prompt_ids, columns, run_info.max_steps or 0, run_info)}

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        """The budget in force, and the share of completions that ended within theirs."""
        if not self.gives_budget:
            return {}
        budgeted = ~rollouts.budget_PG.isnan()
        within = (rollouts.sampled_length_PG <= rollouts.budget_PG) & ~rollouts.truncated_PG
        return {
            "budget_mean": groups.average(rollouts.budget_PG, budgeted),
            "budget_within_share": groups.average(within, budgeted),
        }


class Truncation(Strategy):
    """Shortens completions after sampling."""

    slot: ClassVar[str] = "truncation"
    caps: ClassVar[bool] = False  # what it cuts counts as truncated: generation would have stopped there

    @abc.abstractmethod
    def __call__(self, rollouts: Rollouts) -> Tensor:
        """Kept lengths, int64 (P, G), each at most `length_PG`."""

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        """Counts of what was cut, and the share of the cut completions that it turned from correct to wrong."""
        removed = rollouts.sampled_length_PG - rollouts.length_PG
        broken = (rollouts.sampled_correct_PG > 0.5) & rollouts.wrong_PG
        return {
            "cut_completions": float((removed > 0).sum()),
            "cut_tokens": float(removed.sum()),
            "cut_broken_share": groups.average(broken, removed > 0),
        }


class Reward(Strategy):
    """Gives each completion its reward."""

    slot: ClassVar[str] = "reward"
    reads_verdicts: ClassVar[bool] = True
    reads_budget: ClassVar[bool] = False  # compares lengths with `budget_PG`
    reads_format: ClassVar[bool] = False  # reads `formatted_PG`, `think_tags_PG` or `answer_tags_PG`
    rewards_tokens: ClassVar[bool] = False  # its rewards are a token's: `RewardResult.token_PGT`

    @abc.abstractmethod
    def __call__(self, rollouts: Rollouts) -> Tensor | RewardResult:
        """float64 (P, G), NaN where a row is not valid; or a `RewardResult` with named parts, or with rewards of tokens
        (`RewardResult.of_tokens`)."""

    @property
    def addends(self) -> "tuple[Reward, ...]":
        """The rewards that it is the sum of."""
        return (self,)


@dataclass(frozen=True)
class TeacherRule:
    """An earlier copy of the policy, told more than the policy is, whose log-probs an advantage reads."""

    words: str  # added to the system prompt
    every: int  # optimizer steps between copies; 0: the start policy for good


class Advantage(Strategy):
    """Turns rewards into the weight that each completion, or each token, has in the policy gradient."""

    slot: ClassVar[str] = "advantage"
    needs_logp: ClassVar[bool] = False  # reads `mean_logp_PG`
    scales_by_group_std: ClassVar[bool] = False
    reads_rewards: ClassVar[bool] = True  # False: of rewards it reads only which rows are valid
    reads_token_rewards: ClassVar[bool] = False  # reads `RewardResult.token_PGT`, and not the totals alone
    levels_parts: ClassVar[bool] = False  # normalises the reward's parts one by one: their weights cancel
    needs_flat_groups: ClassVar[bool] = False  # groups of one reward teach as others do: none may be left out

    @property
    def step_end(self) -> str:
        """Text that ends a step of thinking, where `reads` names `step_numbers`."""
        return "\n\n"

    @property
    def teacher(self) -> TeacherRule | None:
        """The teacher, where `reads` names `teacher_logps`."""
        return None

    @abc.abstractmethod
    def __call__(self, reward: RewardResult, rollouts: Rollouts) -> Tensor:
        """float64 (P, G) or (P, G, T); rows that are not valid get 0."""


class Objective(Strategy):
    """The loss of one micro-batch, or a term of it, scaled so that the sum over the optimizer step's micro-batches,
    averaged over processes, is the step's."""

    slot: ClassVar[str] = "objective"
    refuses: ClassVar[tuple[str, ...]] = ()  # GRPOConfig fields that it makes meaningless
    replaces_loss: ClassVar[bool] = True  # False: TRL's own loss is used
    adds_loss: ClassVar[bool] = False  # its loss is added to TRL's, for which `replaces_loss` must be False
    reads_batch: ClassVar[tuple[BatchReadable, ...]] = ()  # parts of the micro-batch, e.g. ("entropy",)
    as_reward: ClassVar[tuple[str, ...]] = ()  # options that must be equal to the reward's, where it has them

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a class whose `reads_batch` is no tuple of names in `BATCH_READABLE`."""
        super().__pydantic_init_subclass__(**kwargs)
        _require_names(cls, "reads_batch", BATCH_READABLE)

    @property
    def computes_loss(self) -> bool:
        """It is called: for the loss, or a term of it."""
        return self.replaces_loss or self.adds_loss

    def row_values(self, rollouts: Rollouts, reward: RewardResult) -> Mapping[str, Tensor]:
        """Numbers of each row that the loss reads as `MicroBatch.rows`, by name, (P, G) or (P, G, T).

        Taken once a generation batch, from whole groups: of columns, lengths, verdicts and whatever `reads` names.
        """
        return {}

    def updated(self, totals: StepTotals) -> None:
        """Update the state from an optimizer step that has ended; the same on every process.

        The means of its figures, over micro-batches and processes, are in `totals.figures`.
        """

    @property
    def surveys(self) -> Literal["nothing", "drift", "tokens"]:
        """Sums that need a pass without gradient over the whole step, before its first backward pass.

        `drift`: `StepTotals.kl_tokens`, which is 0 without a pass where a rollout is used once. `tokens`: `survey`.
        """
        return "nothing"

    def survey(
        self, batches: Sequence[MicroBatch], gather: Callable[[Tensor], Tensor]
    ) -> Mapping[str, float]:
        """`StepTotals.extra`, from that pass: this process's micro-batches without gradient.

        `gather` concatenates a 1-D tensor of any length over all processes.
        """
        return {}

    def needs_every_row(self, totals: StepTotals) -> bool:
        """Rows of advantage 0 shape the gradient of this step, or a row's share depends on its micro-batch's others.

        False: they may be left out, and rows put into other micro-batches of the step.
        """
        return True

    @abc.abstractmethod
    def __call__(self, batch: MicroBatch, totals: StepTotals) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss with gradient, and metrics."""


class Sampling(Strategy):
    """Choice of the prompts to sample, of how many, and of which groups to keep."""

    slot: ClassVar[str] = "sampling"
    selects: ClassVar[bool] = True  # False: as many prompts as the step takes are sampled, and all kept

    @property
    def chooses(self) -> bool:
        """It has a `choose` of its own."""
        return type(self).choose is not Sampling.choose

    def choose(self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], turn: int) -> list[str]:
        """The prompts that a pass over the data visits, in that order; one may be named twice.

        Args:
            prompt_ids: of all training problems, in the order that the run's seed gives this pass.
            columns: the fields that the data has of each.
            turn: passes before this one.
        """
        return list(prompt_ids)

    @abc.abstractmethod
    def factor(self) -> float:
        """Prompts to sample over prompts to keep, >= 1."""

    @abc.abstractmethod
    def keep(self, signal_P: Tensor, prompts: int) -> Tensor:
        """int64 indices of at most `prompts` groups to keep, in batch order. `signal_P`: what `signal` said."""

    def signal(self, rollouts: Rollouts, reward: RewardResult) -> Tensor:
        """bool (P,): the groups that teach something: whose rewards differ, unless the rule says otherwise."""
        return groups.spread(reward.total_PG, ~reward.total_PG.isnan()).squeeze(1)


def as_reward(value: Tensor | RewardResult) -> RewardResult:
    """A plain tensor becomes a reward of one part."""
    return value if isinstance(value, RewardResult) else RewardResult(value.to(torch.float64))
