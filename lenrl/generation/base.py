"""What every engine is given and gives: how to decode, and completions as token ids."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lenrl.errors import BadInput


@dataclass(frozen=True, slots=True)
class Completion:
    """What was generated for one prompt: `ids` with the end-of-text token, if it came, and no padding."""

    ids: list[int]
    truncated: bool  # stopped at the cap without an end-of-text token


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn. Greedy takes one sample; its temperature, top_p and top_k mean nothing."""

    name: str  # sampled | greedy
    samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            f"decoding {self.name!r} is unknown; there are sampled, greedy": self.name
            in ("sampled", "greedy"),
            f"samples={self.samples} is below 1": self.samples >= 1,
            f"max_new_tokens={self.max_new_tokens} is below 1": self.max_new_tokens >= 1,
            f"temperature={self.temperature} is not above 0; for the most probable token give greedy=true": (
                0 < self.temperature < math.inf
            ),
            f"top_p={self.top_p} is outside (0, 1]; 1 keeps everything": 0 < self.top_p <= 1,
            f"top_k={self.top_k} is negative; 0 keeps everything": self.top_k >= 0,
        }
        for complaint, holds in rules.items():
            if not holds:
                raise BadInput(complaint)


class Engine(Protocol):
    """A model ready to be sampled."""

    @property
    def name(self) -> str:
        """The model, as it was asked for."""
        ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def eos_ids(self) -> list[int]:
        """Ids that end a completion."""
        ...

    @property
    def think_prefilled(self) -> bool:
        """The chat template opens `<think>`."""
        ...

    @property
    def context(self) -> int | None:
        """Tokens of prompt and completion together that the model was made for; None: not stated."""
        ...

    def identity(self) -> dict[str, Any]:
        """`engine`, and what else of it moves the figures; part of the fingerprint."""
        ...

    def weights(self) -> str | None:
        """Short hash of the weights; None: they are elsewhere."""
        ...

    def sample(
        self,
        prompt_ids: Sequence[Sequence[int]],
        plan: Decoding,
        *,
        batch_size: int | None,
        done: Mapping[int, Completion],
        keep: Callable[[Mapping[int, Completion]], None],
        progress: Callable[[int], None],
    ) -> list[Completion]:
        """One completion a prompt, in their order.

        Args:
            prompt_ids: token ids; a prompt stands here once for each of its samples.
            plan: how to decode.
            batch_size: rows at a time; None: the engine's choice.
            done: completions by row that are known; they are not sampled.
            keep: is given completions by row as they come.
            progress: is given how many came, those of `done` first.
        """
        ...
