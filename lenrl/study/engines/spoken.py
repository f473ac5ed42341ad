"""What can be known of a model whose weights are not loaded here: how it is spoken to, and where it ends."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from lenrl.engine.sample import end_ids
from lenrl.errors import BadInput
from lenrl.models import find, locate
from lenrl.tasks import think_prefilled


@dataclass(frozen=True)
class Spoken:
    """Tokenizer, end-of-text ids, context."""

    tokenizer: Any
    eos_ids: list[int]
    think_prefilled: bool
    context: int | None


def spoken(
    name: str, *, revision: str | None, tokenizer: str | None, think: bool | None, trust_remote_code: bool
) -> Spoken:
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
    return Spoken(read, ends, think_prefilled(read) if think is None else think, context)
