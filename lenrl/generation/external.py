"""A model whose weights are not loaded here: what its other files tell, and what its engines share."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lenrl.errors import BadInput
from lenrl.generation.base import Completion
from lenrl.generation.names import find, locate
from lenrl.generation.sampling import end_ids, noise_keys
from lenrl.tasks import think_prefilled

if TYPE_CHECKING:
    from lenrl.generation.base import Decoding


@dataclass(frozen=True)
class TokenizerInfo:
    """Tokenizer, end-of-text ids, context."""

    tokenizer: Any
    eos_ids: list[int]
    think_prefilled: bool
    context: int | None


@dataclass(frozen=True)
class Request:
    """One completion that is wanted."""

    row: int
    prompt: list[int]  # token ids
    seed: int  # of its sampling, below 2^31


class ExternalEngine(abc.ABC):
    """An engine (`lenrl.generation.engines.Engine`) that has the weights to itself."""

    def __init__(self, name: str, speech: TokenizerInfo) -> None:
        self.name = name
        self.tokenizer, self.eos_ids = speech.tokenizer, speech.eos_ids
        self.think_prefilled, self.context = speech.think_prefilled, speech.context

    def weights(self) -> None:
        """Unknown."""
        return None

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
        """See `lenrl.generation.engines.Engine`."""
        keys = noise_keys(prompt_ids, plan.seed)
        requests = [
            Request(row, list(ids), keys[row] % 2**31)
            for row, ids in enumerate(prompt_ids)
            if row not in done
        ]
        found = dict(done)
        progress(len(found))
        for completions in self.completed(requests, plan, batch_size):
            found |= completions
            keep(completions)
            progress(len(completions))
        return [found[row] for row in range(len(prompt_ids))]

    @abc.abstractmethod
    def completed(
        self, requests: Sequence[Request], plan: Decoding, batch_size: int | None
    ) -> Iterator[dict[int, Completion]]:
        """Completions by row, as they come; `batch_size`: how many at a time, None: the engine's choice."""


def spoken(
    name: str, *, revision: str | None, tokenizer: str | None, think: bool | None, trust_remote_code: bool
) -> TokenizerInfo:
    """Read the files of a model beside its weights.

    Raises:
        BadInput: its tokenizer can't be read.
    """
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    source = locate(tokenizer) if tokenizer else find(name)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if not tokenizer:
        options["revision"] = revision
    try:
        read: Any = AutoTokenizer.from_pretrained(source, padding_side="left", **options)
    except Exception as error:  # hub, network and tokenizers each raise types of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise BadInput(
            f"the tokenizer of model {name!r} can't be read from {source!r} ({reason}); "
            "give tokenizer=FOLDER or a hub id"
        ) from error
    config = generation = None  # a tokenizer alone has none
    with suppress(OSError, ValueError):
        config = AutoConfig.from_pretrained(source, **options)
    with suppress(OSError, ValueError):
        generation = GenerationConfig.from_pretrained(source)
    ends = end_ids(SimpleNamespace(config=config, generation_config=generation), read)
    context = None if config is None else getattr(config.get_text_config(), "max_position_embeddings", None)
    return TokenizerInfo(read, ends, think_prefilled(read) if think is None else think, context)
