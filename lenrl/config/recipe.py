"""The recipe for the rest of the program: plain typed values, checked, frozen.

No field has a default here: defaults are written once, in `recipes/base.yaml` and, for a strategy's
options, in its class.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, field_validator

from lenrl import plugins
from lenrl.config.difference import ADDRESSES, OPTIONAL
from lenrl.config.settings import (
    FinalEvaluation,
    FunctionSettings,
    GuardSettings,
    HubSettings,
    LoggingSettings,
    ModelSettings,
    OtherData,
    Settings,
    UpdateSettings,
)
from lenrl.errors import validated
from lenrl.strategies import registry
from lenrl.strategies.base import Advantage, Budget, Objective, Reward, Sampling, Strategy, Truncation
from lenrl.strategies.functions import RewardFunction
from lenrl.strategies.method import Method
from lenrl.strategies.slots import SLOTS

NAME_CHARS = 200  # of a recipe or a run, which are folders
# Keys that do not shape the result: the run's name is a hash of all the others.
UNHASHED = (
    "recipe", "launch", "logging", "hub", "eval", "resume", "resume_with_changes", "name", "output_dir",
)  # fmt: skip


def short_digest(value: Any) -> str:
    """Eight hex digits of a plain value: names of runs and sweeps."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=4).hexdigest()


class Recipe(Settings):
    """A complete, checked experiment."""

    recipe: str
    model: ModelSettings
    task: dict[str, Any]
    verifier: dict[str, Any]
    budget: Budget
    truncation: Truncation
    reward: Reward
    advantage: Advantage
    objective: Objective
    sampling: Sampling
    reward_functions: dict[str, FunctionSettings]
    trainer: dict[str, Any]
    update: UpdateSettings
    guard: GuardSettings
    logging: LoggingSettings
    hub: HubSettings
    evals: tuple[OtherData, ...] = ()  # not in recipe.yaml of runs that are older than the key
    eval: FinalEvaluation = FinalEvaluation()  # not in recipe.yaml of runs that are older than the key
    resume: str = Field(min_length=1)
    resume_with_changes: bool
    name: str | None
    output_dir: str | None = Field(min_length=1)
    launch: dict[str, Any]
    plugins: dict[str, str]  # hashes of the files of `--plugin` by name
    seed: int = Field(ge=0, lt=2**32)

    @field_validator(*SLOTS, mode="before")
    @classmethod
    def _strategy(cls, value: Any, info: Any) -> Strategy:
        if isinstance(value, Strategy):
            return value
        if not isinstance(value, Mapping):
            raise ValueError("a slot is {name: ..., option: ...}, or the name of a strategy")
        return registry.build(info.field_name, value)

    @field_validator("reward_functions", mode="before")
    @classmethod
    def _weights(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(
                "the reward functions of plug-ins are {name: weight, ...}, or {name: {verdict: true}}"
            )
        return {name: _chosen(name, given) for name, given in value.items()}

    @field_validator("reward_functions")
    @classmethod
    def _known(cls, value: dict[str, FunctionSettings]) -> dict[str, FunctionSettings]:
        for name in value:
            _function(name)
        return value

    @field_validator("recipe")
    @classmethod
    def _inside_outputs(cls, value: str) -> str:
        parts = value.split("/")
        if len(value) > NAME_CHARS or any(p.strip(". ") == "" for p in parts) or not value.isprintable():
            raise ValueError(
                "a recipe's name stands in the path outputs/RECIPE/NAME: words with / between them, none of them . or "
                f".., {NAME_CHARS} characters at most. It is the file's; leave the key out"
            )
        return value

    @field_validator("name")
    @classmethod
    def _file_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9_+=,][A-Za-z0-9._+=,-]{0,199}", value):
            raise ValueError(
                f"a name is letters, digits and . _ + = , - only, {NAME_CHARS} at most; a path goes into output_dir"
            )
        return value

    @field_validator("evals")
    @classmethod
    def _own_names(cls, value: tuple[OtherData, ...]) -> tuple[OtherData, ...]:
        names = [entry.name for entry in value]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} stands twice; give each entry a name of its own")
        return value

    @property
    def slots(self) -> dict[str, Strategy]:
        """The six strategies by slot."""
        return {slot: getattr(self, slot) for slot in SLOTS}

    @property
    def method(self) -> Method:
        """The six strategies as one pipeline; whatever state they have is theirs."""
        functions = tuple(
            RewardFunction(name, _function(name), chosen.weight, chosen.verdict)
            for name, chosen in self.reward_functions.items()
        )
        return Method(**self.slots, functions=functions)  # type: ignore[arg-type]

    def resolved(self) -> dict[str, Any]:
        """Every setting as plain values, in the order of the fields; composes to an equal recipe."""
        plain: dict[str, Any] = {}
        for field in type(self).model_fields:
            value = getattr(self, field)
            if field in SLOTS:
                plain[field] = registry.spec(value)
            elif field == "reward_functions":
                plain[field] = {name: chosen.model_dump(mode="json") for name, chosen in value.items()}
            elif field == "evals":
                plain[field] = [entry.model_dump(mode="json") for entry in self.evals]
            else:
                plain[field] = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        return json.loads(json.dumps(plain))

    def identity(self) -> dict[str, Any]:
        """The part of `resolved()` that shapes the result."""
        plain = {
            key: value
            for key, value in self.resolved().items()
            if key not in UNHASHED and (value or key not in OPTIONAL)
        }
        plain["trainer"] = {key: value for key, value in plain["trainer"].items() if key not in ADDRESSES}
        if plain["model"]["chat_template"] is None:  # as in runs that are older than the key
            del plain["model"]["chat_template"]
        rules = {name for name, value in plain["guard"].items() if value is None or isinstance(value, dict)}
        plain["guard"] = {key: value for key, value in plain["guard"].items() if key not in rules}
        return plain

    def digest(self) -> str:
        """Eight hex digits of what shapes the result."""
        return short_digest(self.identity())

    def run_dir(self) -> Path:
        """The run's folder: `output_dir`, or `outputs/RECIPE/NAME` where NAME defaults to the digest."""
        if self.output_dir is not None:
            return Path(self.output_dir).expanduser()
        return Path("outputs") / self.recipe / (self.name or self.digest())


def _chosen(name: str, given: Any) -> FunctionSettings:
    """The settings of a reward function, from its weight or a mapping.

    Raises:
        BadInput: with the key.
    """
    if isinstance(given, FunctionSettings):
        return given
    values = given if isinstance(given, Mapping) else {"weight": given}
    return validated(FunctionSettings, values, f"reward_functions.{name}", f"reward function {name!r}")


def _function(name: str) -> Any:
    """The reward function of that name.

    Raises:
        BadInput: no plug-in has one.
    """
    return plugins.named(plugins.FUNCTION, name, {}, "reward_functions.{}", plugins.no_function(name))
