"""A sum of named rewards."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, PrivateAttr, field_validator
from torch import Tensor

from lenrl.rollouts import Readable, RewardResult, Rollouts
from lenrl.strategies import contract
from lenrl.strategies.base import Forbidden, Reward, RunInfo
from lenrl.strategies.copies import copied, reward_copied
from lenrl.strategies.faults import calling, named

DEFAULT_PARTS = ({"name": "correctness", "weight": 1.0}, {"name": "overlong", "weight": 0.5})


class Weighted(Reward):
    """The weighted sum of other rewards: `r = sum_k weight_k * r_k`, parts named after the rewards.

    Each part is `{name, weight, option: ...}`, with the options of the reward it names; `weight` is the
    part's, a reward's own option of that name keeps its default. `gated`: every part but `correctness`
    counts only for correct completions.

    Source: reward shaping as in TRL's `reward_weights`, on whole groups.

    Degenerate cases: a row that one part calls not valid (NaN) is not valid; a name used twice is numbered
    (`kimi`, `kimi_2`), and its figures are; weights cancel under `advantage: decoupled`, but for 0: that is no part.
    What a part declares the sum declares.

    >>> from lenrl.strategies.examples import GROUP, show
    >>> reward = Weighted()(GROUP)
    >>> show(reward.total_PG), list(reward.parts)
    ([[1.5, 1.5, 0.0, 1.0469]], ['correctness', 'overlong'])
    """

    name = "weighted"

    parts: tuple[dict[str, Any], ...] = Field(default=DEFAULT_PARTS, min_length=1, validate_default=True)
    gated: bool = False

    _rules: tuple[tuple[str, float, Reward], ...] = PrivateAttr(default=())

    @field_validator("parts")
    @classmethod
    def _resolve(cls, parts: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        return tuple(_spec(*_build(index, part)) for index, part in enumerate(parts))

    def model_post_init(self, context: Any) -> None:
        names: list[str] = []
        rules = []
        for index, part in enumerate(self.parts):
            weight, rule = _build(index, part)
            names.append(rule.name)
            seen = names.count(rule.name)
            rules.append((rule.name if seen == 1 else f"{rule.name}_{seen}", weight, rule))
        self._rules = tuple(rules)

    def __call__(self, rollouts: Rollouts) -> RewardResult:
        parts = {}
        for label, weight, rule in self._rules:
            with calling(rule):
                paid = rule(copied(rollouts, rule))
            part_PG = weight * contract.reward_result(named(rule), paid, rollouts).total_PG
            if self.gated and rule.name != "correctness":
                part_PG = torch.where(rollouts.right_PG | part_PG.isnan(), part_PG, 0.0 * rollouts.correct_PG)
            parts[label] = part_PG
        total: Tensor = torch.stack(list(parts.values())).sum(dim=0)
        counted = {label: parts[label] for label, weight, _ in self._rules if weight > 0}
        return RewardResult(total, counted)

    @property
    def addends(self) -> tuple[Reward, ...]:
        """Its parts."""
        return tuple(rule for _, _, rule in self._rules)

    @property
    def declares(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Common properties that its parts break, each once."""
        return tuple(dict.fromkeys(name for _, _, rule in self._rules for name in rule.declares))

    @property
    def reads_verdicts(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Any of its parts does, or it gates."""
        return self.gated or any(rule.reads_verdicts for _, _, rule in self._rules)

    @property
    def reads_budget(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Any of its parts does."""
        return any(rule.reads_budget for _, _, rule in self._rules)

    @property
    def reads_format(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Any of its parts does."""
        return any(rule.reads_format for _, _, rule in self._rules)

    @property
    def reads_columns(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Row fields of its parts, each once."""
        return tuple(dict.fromkeys(name for _, _, rule in self._rules for name in rule.reads_columns))

    @property
    def reads(self) -> tuple[Readable, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Parts of the record that its parts read, each once."""
        return tuple(dict.fromkeys(name for _, _, rule in self._rules for name in rule.reads))

    @property
    def forbids(self) -> tuple[Forbidden, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All that its parts forbid."""
        return tuple(entry for _, _, rule in self._rules for entry in rule.forbids)

    @property
    def needs_equal_groups(self) -> bool:
        """Any of its parts does."""
        return any(rule.needs_equal_groups for _, _, rule in self._rules)

    def errors(self, run_info: RunInfo) -> list[str]:
        return [message for _, _, rule in self._rules for message in rule.errors(run_info)]

    def warnings(self, run_info: RunInfo) -> list[str]:
        messages = [message for _, _, rule in self._rules for message in rule.warnings(run_info)]
        weights = {weight for _, weight, _ in self._rules if weight > 0}
        if run_info.parts_weigh_alike and len(weights) > 1:
            messages.append(
                f"reward 'weighted': its weights {sorted(weights)} cancel under an advantage that takes each part "
                "in its own scale; set one weight for all, or choose advantage=grpo"
            )
        return messages

    def observe(self, rollouts: Rollouts, reward: RewardResult) -> None:
        for _, _, rule in self._rules:
            with calling(rule):
                rule.observe(copied(rollouts, rule), reward_copied(reward))

    def metrics(self, rollouts: Rollouts, reward: RewardResult) -> dict[str, float | None]:
        metrics: dict[str, float | None] = {}
        for label, _, rule in self._rules:
            with calling(rule):
                own = rule.metrics(copied(rollouts, rule), reward_copied(reward))
            again = label.removeprefix(rule.name)  # of a rule that is a part twice
            metrics |= {f"{name}{again}": value for name, value in own.items()}
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {label: state for label, _, rule in self._rules if (state := rule.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        unknown = set(state) - {label for label, _, _ in self._rules}
        if unknown:
            raise ValueError(f"reward 'weighted' has no parts {sorted(unknown)}")
        for label, _, rule in self._rules:
            rule.load_state_dict(state.get(label, {}))


def _build(index: int, part: Mapping[str, Any]) -> tuple[float, Reward]:
    """A part's weight and rule. Raises ValueError (pydantic's validators turn it into their own error)."""
    from lenrl.errors import BadInput
    from lenrl.strategies.registry import build  # it walks this package

    options = dict(part)
    weight = options.pop("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise ValueError(f"parts[{index}].weight={weight!r}: must be a finite number of at least 0")
    try:
        rule = build("reward", options)
    except BadInput as error:
        raise ValueError(f"parts[{index}]: {error}") from None
    return float(weight), rule  # pyright: ignore[reportReturnType]


def _spec(weight: float, rule: Reward) -> dict[str, Any]:
    return {**rule.model_dump(mode="json"), "name": rule.name, "weight": weight}
