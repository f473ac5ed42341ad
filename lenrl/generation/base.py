"""Records and the interface that every engine shares: decoding in, completions as token ids out."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, field_validator

from lenrl.generation.pretrained import TokenizerInfo

if TYPE_CHECKING:  # it loads torch
    from transformers import LogitsProcessor

TOP = 20  # log-probs of a token that servers give; the margin of what is not among them is infinite
COLDEST = 1e-6  # temperature; logits divided by much less are infinite
CausalLM = Any  # a model of transformers, or PEFT's around one: `generate` is in no type that they share
Count = Annotated[StrictInt, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class Completion:
    """Token ids that follow one prompt: with the end-of-text token, if it came, and no padding."""

    ids: list[int]
    truncated: bool  # stopped at the cap without an end-of-text token
    # Of the ids, at the sampling temperature, nothing cut off; None: not asked for
    logps: list[float] | None = None
    spent: int | None = None  # tokens, with those that were thrown away; None: as many as ids
    forced: int = 0  # of the ids: written by a control
    # Nats, of a stage's first token: the largest log-prob over that of `margin_of`
    margin: float | None = None
    # `lenrl.measures.SUMMARIES` of log-probs at temperature 1 before any control; None: not asked for
    confidence: tuple[float, ...] | None = None

    @property
    def paid(self) -> int:
        """Tokens that it cost: kept ids, forced ones among them, and those that were thrown away."""
        return len(self.ids) if self.spent is None else self.spent


@dataclass(frozen=True, slots=True)
class Stage:
    """A piece of a completion to sample, after the ids that it has."""

    ids: Sequence[int]  # of the completion so far
    most: int  # new tokens
    stops: frozenset[int] = frozenset()  # ids that end the stage; those of end-of-text always do
    goes_on: bool = False  # its first token is none that ends it
    greedy: bool = False  # whatever the decoding
    logps: bool = False  # comes with log-probs at temperature 1; of greedy stages
    # For engines that can't shape logits: an id, and nats on its logit; an id whose `margin` is asked for.
    bias: tuple[int, float] | None = None
    margin_of: int | None = None
    # Of whoever samples: token ids of the prompt alone, and the key of the completion's noise.
    prompt: Sequence[int] = ()
    key: int = 0


@dataclass(frozen=True)
class Batches:
    """Order of the work: rows at a time, completions that are known, and a receiver of the new ones."""

    size: int | None = None  # rows; None: the engine's choice
    done: Mapping[int, Completion] = field(default_factory=dict)  # by row; they are not sampled
    # Takes completions by row as they come; those of `done` may be among them.
    keep: Callable[[Mapping[int, Completion]], object] = lambda completions: None
    # Takes completions by row as they end, where the engine knows; `keep` gets them too.
    ended: Callable[[Mapping[int, Completion]], object] = lambda completions: None
    logps: bool = False  # completions come with log-probs at temperature 1, before any control
    # Changes a batch's logits, of engines that shape them
    control: Callable[[], LogitsProcessor] | None = None


class SamplingOptions(BaseModel):
    """Options of drawing completions, with their bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    samples: Count = 1  # completions a prompt
    temperature: StrictFloat = 1.0
    top_p: Annotated[StrictFloat, Field(gt=0, le=1)] = 1.0  # 1 keeps everything
    top_k: Annotated[StrictInt, Field(ge=0)] = 0  # 0 keeps everything
    max_new_tokens: Count = 4096  # cap, end-of-text included
    seed: StrictInt = 0  # of the sampling noise

    @field_validator("temperature")
    @classmethod
    def _above_zero(cls, value: float) -> float:
        if value < COLDEST:
            raise ValueError(f"is below {COLDEST:g}; for the most probable token give greedy=true")
        return value


class Decoding(SamplingOptions):
    """One way to draw completions. Greedy takes the most probable token: only its cap means something."""

    name: Literal["sampled", "greedy"] = "sampled"

    @property
    def greedy(self) -> bool:
        """The most probable token is taken."""
        return self.name == "greedy"


class Engine(abc.ABC):
    """A model ready to be sampled."""

    shapes_logits = False  # `sample` takes a control of the logits

    def __init__(self, name: str, info: TokenizerInfo) -> None:
        self.name = name
        self.info = info

    @abc.abstractmethod
    def identity(self) -> dict[str, str]:
        """`engine`, and what else of it moves the figures; part of the fingerprint."""

    @abc.abstractmethod
    def weights(self) -> str:
        """Short hash of the weights, or a name: what other weights have sampled has another one."""

    def no_logps(self) -> str | None:
        """The reason why completions come without log-probs; None: they come where they are asked for."""
        return None

    def no_stages(self) -> str | None:
        """The reason why the engine takes no stages; None: it does."""
        return None

    @abc.abstractmethod
    def extend(self, stages: Sequence[Stage], decoding: Decoding, size: int | None) -> list[Completion]:
        """The new ids of a stage each, truncated where neither a stop nor end-of-text came.

        Args:
            stages: what to sample; its ids so far have used up their noise.
            decoding: how to draw; neither its cap nor its `samples` are read.
            size: rows at a time; None: the engine's choice.
        """

    @abc.abstractmethod
    def sample(
        self, prompt_ids: Sequence[Sequence[int]], decoding: Decoding, batches: Batches
    ) -> list[Completion]:
        """One completion a prompt, in their order.

        Args:
            prompt_ids: token ids; a prompt stands here once for each of its samples.
            decoding: how to draw; its `samples` are not read.
        """
