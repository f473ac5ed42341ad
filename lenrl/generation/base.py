"""Records and the interface that every engine shares: decoding in, completions as token ids out."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, field_validator

from lenrl.generation.pretrained import TokenizerInfo

CausalLM = Any  # a model of transformers, or PEFT's around one: `generate` is in no type that they share
Count = Annotated[StrictInt, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class Completion:
    """Token ids that follow one prompt: with the end-of-text token, if it came, and no padding."""

    ids: list[int]
    truncated: bool  # stopped at the cap without an end-of-text token
    logps: list[float] | None = (
        None  # of the ids, at the sampling temperature, nothing cut off; None: not asked for
    )


@dataclass(frozen=True)
class Batches:
    """Order of the work: rows at a time, completions that are known, and a receiver of the new ones."""

    size: int | None = None  # rows; None: the engine's choice
    done: Mapping[int, Completion] = field(default_factory=dict)  # by row; they are not sampled
    # Takes completions by row as they come; those of `done` may be among them.
    keep: Callable[[Mapping[int, Completion]], object] = lambda completions: None
    # Takes completions by row as they end, where the engine knows; `keep` gets them too.
    ended: Callable[[Mapping[int, Completion]], object] = lambda completions: None


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
        if value <= 0:
            raise ValueError("is not above 0; for the most probable token give greedy=true")
        return value


class Decoding(SamplingOptions):
    """One way to draw completions. Greedy takes the most probable token: only its cap means something."""

    name: Literal["sampled", "greedy"] = "sampled"

    @property
    def greedy(self) -> bool:
        """The most probable token is taken."""
        return self.name == "greedy"


class Engine(abc.ABC):
    """A model ready to be sampled.

    Args:
        name: the model, as it was asked for.
        info: its tokenizer and what goes with it.
    """

    def __init__(self, name: str, info: TokenizerInfo) -> None:
        self.name = name
        self.info = info

    @abc.abstractmethod
    def identity(self) -> dict[str, str]:
        """`engine`, and what else of it moves the figures; part of the fingerprint."""

    def weights(self) -> str | None:
        """Short hash of the weights; None: they are elsewhere."""
        return None

    @abc.abstractmethod
    def sample(
        self, prompt_ids: Sequence[Sequence[int]], decoding: Decoding, batches: Batches
    ) -> list[Completion]:
        """One completion a prompt, in their order.

        Args:
            prompt_ids: token ids; a prompt stands here once for each of its samples.
            decoding: how to draw; its `samples` are not read.
            batches: the order of the work.
        """
