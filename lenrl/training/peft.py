"""`model.peft` of a recipe: LoRA, DoRA, and QLoRA's quantised base."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import BaseModel

from lenrl.errors import BadInput, did_you_mean
from lenrl.training.trl_fields import COUNT, SHARE, checker, faults_of

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig

PEFT_BOUNDS: dict[str, Any] = {"r": COUNT, "lora_alpha": COUNT, "lora_dropout": SHARE}
QUANTIZATION = "quantization"  # under model.peft: how the base that stays as it is is stored (QLoRA)


@cache
def _peft_fields() -> type[BaseModel]:
    from peft import LoraConfig

    return checker("peft", get_type_hints(LoraConfig), PEFT_BOUNDS)


def peft_config(fields: Mapping[str, Any] | None) -> LoraConfig | None:
    """`model.peft` as a `peft.LoraConfig`, without its `quantization`; None: all weights are trained.

    Raises:
        BadInput: a field that LoraConfig does not have, or a value that it does not take.
    """
    if fields is None:
        return None
    from peft import LoraConfig

    fields = {name: value for name, value in fields.items() if name != QUANTIZATION}
    faults = faults_of(_peft_fields(), fields, "model.peft", "peft's LoraConfig")
    if faults:
        raise BadInput("\n".join(faults))
    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **fields})
    except (ValueError, TypeError) as fault:  # fields that contradict each other
        raise BadInput(f"model.peft={dict(fields)}: peft refuses it: {fault}") from fault


def name_base(model: Any, revision: str | None) -> None:
    """Write into the configuration of a model's adapters where their base is, found from any working directory.

    That is a folder's absolute path, or a hub id with its revision. Nothing happens to a model without adapters.
    """
    if not hasattr(model, "get_base_model"):  # not peft's; transformers' models have a `peft_config` too
        return
    for config in model.peft_config.values():
        base = Path(str(config.base_model_name_or_path))
        if base.is_dir():
            config.base_model_name_or_path = str(base.resolve())
        elif config.revision is None:
            config.revision = revision


def quantization_config(fields: Mapping[str, Any] | None) -> BitsAndBytesConfig | None:
    """`model.peft.quantization` as transformers' `BitsAndBytesConfig`; None: the base keeps its precision.

    Raises:
        BadInput: bitsandbytes is missing, or a field is unknown or refused by it.
    """
    options = (fields or {}).get(QUANTIZATION)
    if options is None:
        return None
    from transformers import BitsAndBytesConfig

    key = f"model.peft.{QUANTIZATION}"
    known = [name for name in signature(BitsAndBytesConfig).parameters if name != "kwargs"]
    if not isinstance(options, Mapping) or not (options.get("load_in_4bit") or options.get("load_in_8bit")):
        raise BadInput(f"{key}={options!r}: say load_in_4bit: true or load_in_8bit: true, or leave it out.")
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known, key + ".{}") or f" There are {', '.join(known)}."
            raise BadInput(f"{key}.{name}={options[name]!r}: transformers has no such field.{hint}")
    if find_spec("bitsandbytes") is None:
        raise BadInput(f"{key} needs bitsandbytes, which is not installed: pip install 'lenrl[qlora]'.")
    try:
        return BitsAndBytesConfig(**options)
    except (ValueError, TypeError, AttributeError) as fault:  # the last: a type that torch does not have
        raise BadInput(f"{key}={dict(options)}: transformers refuses it: {fault}") from fault
