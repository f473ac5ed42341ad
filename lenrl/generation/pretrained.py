"""Models by name: where a name leads, and what is read of a model without its weights."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from lenrl.errors import BadInput
from lenrl.files import worded

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from lenrl.config import ModelSettings

TINY = Path(__file__).parent / "tiny"  # the embedded reasoner
CONFIGS = ("config.json", "adapter_config.json")
HUB_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")


def locate(path: str) -> str:
    """`tiny` is the embedded model's folder; anything else is a local folder or a hub id, as it stands."""
    return str(TINY) if path == "tiny" else path


PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def find(name: str) -> str:
    """The folder or hub id of a model: `tiny`, a model's or adapter's folder, a run's folder, or a hub id.

    Raises:
        BadInput: a path that does not exist or holds no model, or a name that can't be a hub id.
    """
    path = Path(os.path.expanduser(locate(name)))  # `Path.expanduser` raises where nobody has that name
    if os.path.isdir(path):  # `Path.is_dir` raises of a name that is too long
        for folder in (path, path / "model"):
            if any((folder / config).is_file() for config in CONFIGS):
                return str(folder)
        raise BadInput(
            f"model {name!r}: the folder holds neither {' nor '.join(CONFIGS)}, nor a model/ with one; "
            "give a folder that save_pretrained or a finished run wrote"
        )
    below_a_folder = path.parent.is_dir() and "/" in name
    if os.path.exists(path) or not HUB_ID.fullmatch(name) or name.startswith(".") or below_a_folder:
        raise BadInput(
            f"model {name!r}: no such folder; give tiny, a model's folder, a run's folder or a hub id"
        )
    return name


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("needs true or false")
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]  # refuses 1 and "yes"
Words = Annotated[str, BeforeValidator(partial(worded, key="chat_template"))]


class ModelOptions(BaseModel):
    """Options of loading a model for sampling."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    device: str | None = None  # None: the GPU, if there is one
    dtype: str | None = None  # of the weights; None: float32 on a CPU, as saved on a GPU
    revision: str | None = None  # of a hub model; ignored for folders
    tokenizer: str | None = None  # folder or hub id of another one than the model's own
    chat_template: Words | None = None  # Jinja, `@FILE` reads it; None: the tokenizer's own
    think_prefilled: Flag | None = None  # the chat template opens `<think>`; None: as the template says
    trust_remote_code: Flag = False  # run Python code that comes with the model


@dataclass(frozen=True)
class TokenizerInfo:
    """Tokenizer of a model, and what its configuration files say."""

    tokenizer: PreTrainedTokenizerBase  # pads on the left, as generation needs it
    config: PreTrainedConfig | None  # the model's; None: there is none where the tokenizer is
    eos_ids: list[int]  # that end a completion
    think_prefilled: bool  # the chat template opens `<think>`

    @property
    def context(self) -> int | None:
        """Tokens of prompt and completion together that the model was made for; None: not stated."""
        return self.config and getattr(self.config.get_text_config(), "max_position_embeddings", None)

    def with_model(self, model: PreTrainedModel) -> TokenizerInfo:
        """The same after the model is loaded, whose own configurations count."""
        ends = end_ids(self.tokenizer, model.config, model.generation_config)
        return replace(self, config=model.config, eos_ids=ends)


def load_tokenizer_info(
    name: str, options: ModelOptions | ModelSettings, *, needs_config: bool = False
) -> TokenizerInfo:
    """Read the tokenizer and the configuration files of a model.

    Args:
        name: see `find`; not looked at if `options` name a tokenizer and no configuration is needed.
        options: what of it is read.
        needs_config: take the model's configuration, and refuse a model without; False: that of the folder in which
            the tokenizer is, if it has one.

    Raises:
        BadInput: no such model, no network, or files that can't be read.
    """
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    from lenrl.tasks import think_prefilled

    own = options.tokenizer is None
    source = find(name) if own else locate(str(options.tokenizer))
    of_source: dict[str, bool | str | None] = {"trust_remote_code": options.trust_remote_code}
    of_model = of_source | {"revision": options.revision}
    if own:
        of_source = of_model
    config = generation = None
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", **of_source)
        if needs_config:
            config = AutoConfig.from_pretrained(find(name), **of_model)
    except Exception as error:  # hub, network and tokenizers each raise types of their own
        raise unreadable(
            f"model {name!r}" + ("" if own else f" with tokenizer={source}"), source, error
        ) from error
    if options.chat_template is not None:
        tokenizer.chat_template = options.chat_template
    with suppress(OSError, ValueError):  # a tokenizer alone has none
        config = config or AutoConfig.from_pretrained(source, **of_source)
    with suppress(OSError, ValueError):
        generation = GenerationConfig.from_pretrained(source, revision=(own and options.revision) or "main")
    prefilled = options.think_prefilled
    if prefilled is None:
        prefilled = think_prefilled(tokenizer)
    return TokenizerInfo(tokenizer, config, end_ids(tokenizer, config, generation), prefilled)


def refuse_pickles(source: str) -> None:
    """A local model whose weights are pickles alone is not loaded: unpickling runs whatever they hold.

    Raises:
        BadInput: with their names.
    """
    folder = Path(source)
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLES) if folder.is_dir() else []
    if pickles and not any(folder.glob("*.safetensors")):
        raise BadInput(
            f"model {source!r}: its weights are in {', '.join(pickles[:3])}, which Python unpickles, and unpickling "
            "runs what a file holds; save the model again as safetensors (save_pretrained does)"
        )


def load_config(name: str, options: ModelOptions | ModelSettings) -> PreTrainedConfig:
    """Read a model's configuration.

    Raises:
        BadInput: no such model, no network, or a file that can't be read.
    """
    from transformers import AutoConfig

    source = find(name)
    try:
        return AutoConfig.from_pretrained(
            source, trust_remote_code=options.trust_remote_code, revision=options.revision
        )
    except Exception as error:  # hub and network raise types of their own
        raise unreadable(f"model {name!r}", source, error) from error


def end_ids(tokenizer: object, *configs: object) -> list[int]:
    """Every id that the tokenizer or a configuration calls end-of-text."""
    ids: set[int] = set()
    for named in (tokenizer, *configs):
        value = getattr(named, "eos_token_id", None)
        ids |= set(value if isinstance(value, list | tuple) else [] if value is None else [value])
    return sorted(ids)


def unreadable(what: str, source: str, error: Exception) -> BadInput:
    """The message for a model or tokenizer that one of its loaders refuses."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".:")
    remedy = (
        "check the files, or save the model again"
        if Path(source).is_dir()
        else f"check the name and {network()}, or give the folder of a downloaded model"
    )
    return BadInput(f"{what} could not be loaded ({reason}); {remedy}")


def network() -> str:
    """The words for a remedy: the network, or the setting that forbids its use."""
    from huggingface_hub.constants import is_offline_mode

    return "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE" if is_offline_mode() else "the network"


def room(context: int | None, max_completion_length: int) -> int | None:
    """Tokens that the model's context leaves for a prompt; None: its configuration names no context.

    Raises:
        BadInput: completions may take all of it.
    """
    if context is None:
        return None
    if context <= max_completion_length:
        raise BadInput(
            f"trainer.max_completion_length={max_completion_length} leaves no room for a prompt in the model's "
            f"context of {context} tokens. Lower it."
        )
    return context - max_completion_length
