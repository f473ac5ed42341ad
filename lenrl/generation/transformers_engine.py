"""Engine of models that transformers loads in this process, adapters on their base."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from lenrl.files import digest
from lenrl.generation.base import Batches, CausalLM, Completion, Decoding, Engine, Stage
from lenrl.generation.choice import GoesOn, TokenRule
from lenrl.generation.decoder import PromptRow
from lenrl.generation.key_values import divisible_cache
from lenrl.generation.pretrained import (
    ModelOptions,
    TokenizerInfo,
    find,
    load_tokenizer_info,
    refuse_pickles,
    unreadable,
)
from lenrl.generation.sampling import sample, sample_rows, token_rule

ASIDE = (
    "_name_or_path", "name_or_path", "base_model_name_or_path", "revision", "inference_mode",
    "transformers_version", "peft_version", "dtype", "torch_dtype",
)  # fmt: skip


class TransformersEngine(Engine):
    """A model in this process; `model` may have PEFT adapters."""

    shapes_logits = True

    def __init__(self, name: str, info: TokenizerInfo, model: CausalLM) -> None:
        super().__init__(name, info)
        self.model = model

    def identity(self) -> dict[str, str]:
        """`engine` and `arithmetic`: precision and device."""
        parameter = next(self.model.parameters())
        arithmetic = f"{parameter.dtype} on {parameter.device.type}".removeprefix("torch.")
        return {"engine": "transformers generate", "arithmetic": arithmetic}

    def weights(self) -> str:
        """Short hash of the parameters."""
        return weights_hash(self.model)

    def no_logps(self) -> str | None:
        cache = divisible_cache(self.model)
        return f"transformers' generate decodes it ({cache})" if isinstance(cache, str) else None

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], decoding: Decoding, batches: Batches
    ) -> list[Completion]:
        info = self.info
        return sample(self.model, info.tokenizer, prompt_ids, decoding, batches, eos_ids=info.eos_ids)

    def extend(self, stages: Sequence[Stage], decoding: Decoding, size: int | None) -> list[Completion]:
        """See `Engine`: stages of a kind are a batch."""
        kinds: dict[tuple, list[int]] = {}
        for number, stage in enumerate(stages):
            kind = (stage.stops, stage.goes_on, stage.greedy, stage.logps)
            kinds.setdefault(kind, []).append(number)
        found: dict[int, Completion] = {}
        for (stops, goes_on, greedy, logps), numbers in kinds.items():
            ends = {*self.info.eos_ids, *stops}
            rule = TokenRule(greedy=True) if greedy else token_rule(decoding)
            if goes_on:
                rule = replace(rule, control=lambda ends=ends: GoesOn(ends))
            some_stages = [stages[number] for number in numbers]
            rows = [PromptRow([*s.prompt, *s.ids], s.most, s.key, len(s.ids)) for s in some_stages]
            some = sample_rows(self.model, rows, rule, ends, Batches(size), logps=logps)
            found |= dict(zip(numbers, some, strict=True))
        return [found[number] for number in range(len(stages))]


def load(name: str, options: ModelOptions | None = None) -> TransformersEngine:
    """Load a model (adapters on their base) with its tokenizer for sampling; `name`: see `find`.

    Raises:
        BadInput: no such model, no network, or files that can't be loaded.
    """
    options = options or ModelOptions()
    source = find(name)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = options.dtype or ("float32" if device == "cpu" else "auto")
    transformers_logging.disable_progress_bar()  # one bar a model next to ours
    own: dict[str, bool | str | None] = {"trust_remote_code": options.trust_remote_code}
    if not Path(source).is_dir():
        own["revision"] = options.revision
    info = load_tokenizer_info(name, options)
    refuse_pickles(source)
    try:
        model = _weights(source, dtype, own).to(device).eval()
    except Exception as error:  # transformers, hub, safetensors and network each raise types of their own
        raise unreadable(f"model {name!r}", source, error) from error
    return TransformersEngine(name, info.with_model(model), model)


def weights_hash(model: torch.nn.Module) -> str:
    """Short hash of the parameters (names, shapes, and two sums of each) and of how the model computes with them."""
    sums: list[Any] = [[_plain(config) for config in _configs(model)]]
    with torch.no_grad():
        for name, values in model.named_parameters():
            flat = values.detach().reshape(-1)
            both = [flat.sum(dtype=torch.float64).item(), flat[::7].sum(dtype=torch.float64).item()]
            sums.append([name, list(values.shape), *map(repr, both)])
    return digest(sums, size=6)


def _configs(model: torch.nn.Module) -> list[dict[str, Any]]:
    """Configurations of the model and of its adapters."""
    adapters = getattr(model, "peft_config", {})
    return [config.to_dict() for config in (getattr(model, "config", None), *adapters.values()) if config]


def _plain(value: Any) -> Any:
    """A configuration in JSON's types, without what says where it came from and in which precision it is."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if key not in ASIDE}
    if isinstance(value, list | tuple | set):
        items = [_plain(item) for item in value]
        return sorted(items, key=str) if isinstance(value, set) else items
    return value if isinstance(value, str | int | float | None) else str(value)


def _weights(source: str, dtype: str, options: dict[str, bool | str | None]) -> CausalLM:
    """A whole model, or an adapter on its base.

    transformers 5.23 would load an adapter too, but leaves DoRA's magnitudes behind, with no more than a report.
    """
    if not (Path(source) / "adapter_config.json").is_file():
        return AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options)
    from peft import PeftConfig, PeftModel

    config = PeftConfig.from_pretrained(source)
    base = find(str(config.base_model_name_or_path))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, revision=config.revision, **options)
    return PeftModel.from_pretrained(model, source)
