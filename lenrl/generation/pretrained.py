"""What can be read of a model without its weights: its configuration, its tokenizer, its context."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lenrl.config import ModelSettings
from lenrl.errors import BadInput
from lenrl.generation.names import find, locate


def configuration(settings: ModelSettings) -> Any:
    """The model's configuration.

    Raises:
        BadInput: no such folder, no network, or files that can't be read.
    """
    from transformers import AutoConfig

    return _read("model.path", find(settings.path), AutoConfig.from_pretrained, **_options(settings))


def tokenizer(settings: ModelSettings) -> Any:
    """`model.tokenizer`, or else the model's own; pads on the left, as generation needs it.

    Raises:
        BadInput: no such folder, no network, or files that can't be read.
    """
    from transformers import AutoTokenizer

    if settings.tokenizer is None:
        key, source, options = "model.path", find(settings.path), _options(settings)
    else:
        key, source = "model.tokenizer", locate(settings.tokenizer)
        options = {"trust_remote_code": settings.trust_remote_code}
    return _read(key, source, AutoTokenizer.from_pretrained, padding_side="left", **options)


def room(config: Any, max_completion_length: int) -> int | None:
    """Tokens that the model's context leaves for a prompt; None: its configuration names no context.

    Raises:
        BadInput: completions may take all of it.
    """
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context is None:
        return None
    if context <= max_completion_length:
        raise BadInput(
            f"trainer.max_completion_length={max_completion_length} leaves no room for a prompt in the model's "
            f"context of {context} tokens. Lower it."
        )
    return context - max_completion_length


def _options(settings: ModelSettings) -> dict[str, Any]:
    return {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}


def _read(key: str, source: str, load: Callable[..., Any], **options: Any) -> Any:
    try:
        return load(source, **options)
    except Exception as error:  # hub, network and transformers each raise types of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".:")
        remedy = (
            "Check the files in the folder"
            if Path(source).is_dir()
            else "Check the name and the network, or give the folder of a downloaded model"
        )
        raise BadInput(f"{key}={source!r} can't be read: {reason}. {remedy}.") from error
