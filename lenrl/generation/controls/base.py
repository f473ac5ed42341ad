"""The contract of a control at decoding: a way to make a model think shorter, or longer, without training it.

A control has at most one dial, so that it is a curve of accuracy over tokens. It acts by words in the prompt, inside of
the model, by changing logits as a function of the tokens so far, or by stages, which begin with the completion that the
model writes by itself and end in another one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from transformers import LogitsProcessor

from lenrl.generation.base import Completion, Count, Engine, Stage
from lenrl.generation.controls.thinking import Thinking

Stages = Generator[Stage, Completion, Completion]
"""Asks for stages, is sent what they gave, and returns the whole completion."""


Word = Annotated[str, Field(min_length=1)]


class ControlOptions(BaseModel):
    """Options under `control`; what each control knows of them is in its `knows`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: Literal["first", "all"] = "first"  # models: the base alone, or each
    open: Word = "<think>"  # begins the thinking
    close: Word = "</think>"  # ends it
    text: str | None = None  # words of `nothink` and `words`; None: its own
    shots: Path | None = None  # of `draft`: rows with prompt and completion, as turns before the problem
    by: Literal["bias", "scale"] = "bias"  # of `stop`: the dial is added to the logit, or divides it
    # Places where thinking may be ended: any, or the begin of a line; None: the control's own.
    at: Literal["any", "step"] | None = None
    answer: str | None = None  # words after thinking that `force` closes; None: an answer that is begun
    answer_tokens: Count = 512  # of `force` and `wait`: for the answer
    word: Word = "Wait"  # `wait` goes on with it; at it `exit` tries an answer
    budget: Count | None = None  # of `wait`: tokens of thinking after which it may end; None: the cap's rest
    trial: str | None = None  # of `exit`: words before the answer on trial; None: an answer that is begun
    trials: Count = 10  # of `exit`, a completion
    trial_tokens: Count = 20  # of `exit`, a trial
    # Of `exit`: of the probabilities of a trial's tokens
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    steer: Path | None = None  # of `steer`: what `lenrl edit` wrote


SHARED = {"on", "open", "close"}  # options that say something to every control


@dataclass(frozen=True)
class Dial:
    """Bounds of a control's number."""

    meaning: str
    low: float
    high: float = float("inf")
    whole: bool = False
    open: bool = False  # the bounds are none of its values

    def read(self, text: str) -> float:
        """The number.

        Raises:
            ValueError: it is none, or out of bounds.
        """
        number = int(text) if self.whole else float(text)
        inside = self.low < number < self.high if self.open else self.low <= number <= self.high
        if not inside:
            raise ValueError("out of bounds")
        return number

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.high == float("inf"):
            return f"{self.meaning}, {kind} {'above' if self.open else 'from'} {self.low:g}"
        between = "between {:g} and {:g}" if self.open else "from {:g} to {:g}"
        return f"{self.meaning}, {kind} {between.format(self.low, self.high)}"


@dataclass(frozen=True)
class ControlledRow:
    """One completion to control."""

    free: Completion  # written without a control
    cap: int  # tokens of a completion


class Control:
    """One control with its dial.

    Args:
        label: as it was asked for, e.g. `force@512`.
        dial: its number; NaN for a control without.
        options: of all controls.
    """

    dial_of: ClassVar[Dial | None] = None
    knows: ClassVar[frozenset[str]] = frozenset()  # options, besides the shared ones
    whole: ClassVar[bool] = False  # by words in the prompt or inside of the model

    def __init__(self, label: str, dial: float, options: ControlOptions) -> None:
        self.label, self.dial, self.options = label, dial, options

    def identity(self, thinking: Thinking) -> dict[str, Any]:
        """All that moves the figures, for the fingerprint."""
        own = self.options.model_dump(mode="json", include=set(self.knows | {"open", "close"}))
        return {"name": self.label, **own, **self.resolved(thinking)}

    def resolved(self, thinking: Thinking) -> dict[str, Any]:
        """Options that follow from the model where none are given."""
        return {}

    def check(self, thinking: Thinking, cap: int, engine: Engine) -> None:
        """Refuse a model, a cap of tokens or an engine that the control can do nothing with.

        Raises:
            BadInput: with the reason and the remedy.
        """
        return

    def chat(self, chat: list[dict[str, str]], tokenizer: Any) -> list[dict[str, str]]:
        """The messages, with the control's words."""
        return chat

    def prefill(self, thinking: Thinking) -> list[int]:
        """Token ids after the generation prompt."""
        return []

    def inside(self, engine: Engine) -> AbstractContextManager[None]:
        """The time in which the engine samples, for a control that changes its model then."""
        return nullcontext()

    def logits(self, thinking: Thinking) -> Callable[[], LogitsProcessor] | None:
        """Maker of what changes a batch's logits, before temperature and cuts; None: it acts otherwise."""
        return None

    def stages(self, thinking: Thinking, row: ControlledRow) -> Stages:
        """The stages of one completion, for a control that acts by them."""
        raise NotImplementedError
