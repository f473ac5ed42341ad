"""Reward functions as TRL takes them, `f(completions, **columns) -> list[float | None]`: named parts of the reward.

Every process calls them with its own rows. What they return is checked here; `Method.rewards` adds it up.
"""

import asyncio
import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from lenrl.code_places import place_of, raised
from lenrl.errors import BadInput, PluginFailed, shown
from lenrl.strategies.base import MAX_REWARD, NonfiniteReward

Completion = str | list[dict[str, str]]
ALWAYS = ("prompts", "completions", "completion_ids", "trainer_state", "log_metric", "log_extra")


@dataclass(frozen=True)
class FunctionInputs:
    """This process's rows, as reward functions get them, and what they log.

    Attributes:
        prompts: text, or messages where the prompts are conversational.
        texts: completions as the verifier reads them.
        completion_ids: token ids of those.
        columns: what the data says of each row; a name that a row lacks is None there.
        trainer_state: transformers' `TrainerState`; None outside training.
    """

    prompts: Sequence[Completion]
    texts: Sequence[str]
    completion_ids: Sequence[Sequence[int]]
    columns: Sequence[Mapping[str, Any]]
    trainer_state: Any = None
    metrics: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    # Column of the completions' table -> a value a row
    extras: dict[str, list[Any]] = field(default_factory=dict)

    @cached_property
    def keywords(self) -> dict[str, Any]:
        """All that a function may take, by name."""
        chat = bool(self.prompts) and not isinstance(self.prompts[0], str)
        names = sorted({name for row in self.columns for name in row})
        return {
            **{name: [row.get(name) for row in self.columns] for name in names},
            "prompts": list(self.prompts),
            "completions": [[{"role": "assistant", "content": t}] if chat else t for t in self.texts],
            "completion_ids": [list(ids) for ids in self.completion_ids],
            "trainer_state": self.trainer_state,
            "log_metric": lambda name, value: self.metrics[name].append(float(value)),
            "log_extra": lambda column, values: self.extras.update({column: list(values)}),
        }


@dataclass(frozen=True)
class RewardFunction:
    """A function with its name, and the weight of what it returns in the reward.

    Attributes:
        verdict: what it returns, 0, 1 or None for nobody can say, is the completion's verdict and no part.
    """

    name: str
    function: Callable[..., Any]
    weight: float = 1.0
    verdict: bool = False

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise BadInput(f"{self}={shown(self.function)}: a reward function must be callable")
        number = isinstance(self.weight, int | float) and not isinstance(self.weight, bool)
        if not (number and math.isfinite(self.weight)):
            raise BadInput(f"the weight of {self} is {self.weight!r}: it must be a finite number")

    def __str__(self) -> str:
        return f"reward function {self.name!r}"

    @property
    def place(self) -> str:
        """Its name, file and line, for messages."""
        return f"{self} ({place_of(self.function)})"

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        try:
            return inspect.signature(self.function).parameters
        except (TypeError, ValueError):  # of a built-in: it gets everything
            return {"rest": inspect.Parameter("rest", inspect.Parameter.VAR_KEYWORD)}

    @property
    def reads_columns(self) -> tuple[str, ...]:
        """Columns of the data that it cannot do without."""
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return tuple(
            name
            for name, parameter in self._parameters.items()
            if parameter.kind in named and parameter.default is parameter.empty and name not in ALWAYS
        )

    def taken(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords that its signature takes."""
        if any(p.kind is p.VAR_KEYWORD for p in self._parameters.values()):
            return dict(keywords)
        return {name: value for name, value in keywords.items() if name in self._parameters}


def call(
    functions: Sequence[RewardFunction], inputs: FunctionInputs, nonfinite: Literal["fail", "drop"] = "fail"
) -> dict[str, list[float | None]]:
    """Values of the rows by function; async ones run side by side.

    Args:
        nonfinite: `guard.nonfinite`; with `drop` a value that no reward can have becomes infinite, so that
            `Method.rewards` drops and counts its row.

    Raises:
        PluginFailed: a function raises, or returns other than a number or None a row.
        NonfiniteReward: a number is NaN, infinite or above 1e6.
    """
    outputs = [_output(function, inputs) for function in functions]
    pending = {i: output for i, output in enumerate(outputs) if inspect.isawaitable(output)}
    if pending:
        waited = _waited([(functions[i], output) for i, output in pending.items()])
        outputs = [waited.pop(0) if i in pending else output for i, output in enumerate(outputs)]
    return {
        function.name: _checked(function, output, len(inputs.texts), nonfinite)
        for function, output in zip(functions, outputs, strict=True)
    }


def _output(function: RewardFunction, inputs: FunctionInputs) -> Any:
    try:
        return function.function(**function.taken(inputs.keywords))
    except Exception as error:
        raise PluginFailed(_failure(function, error)) from error


def _waited(pending: Sequence[tuple[RewardFunction, Any]]) -> list[Any]:
    """Outputs of async functions, which a thread waits for where this one runs an event loop, as a notebook's does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_together(pending))
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, _together(pending)).result()


async def _together(pending: Sequence[tuple[RewardFunction, Any]]) -> list[Any]:
    async def one(function: RewardFunction, output: Any) -> Any:
        try:
            return await output
        except Exception as error:
            raise PluginFailed(_failure(function, error)) from error

    return list(await asyncio.gather(*(one(function, output) for function, output in pending)))


def _failure(function: RewardFunction, error: Exception) -> str:
    return f"{function} raised {raised(error, function.function)}; repair it"


def _checked(
    function: RewardFunction, output: Any, rows: int, nonfinite: Literal["fail", "drop"]
) -> list[float | None]:
    try:
        values = list(output.tolist() if hasattr(output, "tolist") else output)
    except TypeError:
        raise PluginFailed(
            f"{function.place} returned {shown(output)}: it must return a list of numbers, one a completion"
        ) from None
    if len(values) != rows:
        raise PluginFailed(
            f"{function.place} returned {len(values)} values for {rows} completions: it must return one a completion"
        )
    return [_value(function, row, value, nonfinite) for row, value in enumerate(values)]


def _value(
    function: RewardFunction, row: int, value: Any, nonfinite: Literal["fail", "drop"]
) -> float | None:
    if value is None:
        return None
    try:
        number = float("text" if isinstance(value, str) else value)
    except OverflowError:  # of a whole number
        number = math.inf
    except (TypeError, ValueError):
        raise PluginFailed(
            f"{function.place} returned {shown(value)} for completion {row}: must be a number, or None where it "
            "does not apply"
        ) from None
    if function.verdict:
        if number in (0.0, 1.0):
            return number
        raise PluginFailed(
            f"{function.place} returned {shown(value)} for completion {row}, and is taken as the verdict: that is "
            "0, 1, or None where nobody can say. Return one of these, or have it added to the reward, as a part with "
            "a weight and without verdict=true"
        )
    if abs(number) <= MAX_REWARD:
        return number
    if nonfinite == "drop":
        return math.inf
    raise NonfiniteReward(
        f"{function.place} returned {number} for completion {row}: must be finite and at most {MAX_REWARD:g}; repair "
        "it, return None where it does not apply, or leave such rows out: guard.nonfinite=drop"
    )
