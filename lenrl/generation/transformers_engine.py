"""Finding and loading the models that are measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lenrl.errors import BadInput
from lenrl.generation.base import Completion
from lenrl.generation.names import find, locate
from lenrl.generation.sampling import end_ids, sample
from lenrl.tasks import think_prefilled

if TYPE_CHECKING:
    from lenrl.generation.base import Decoding


@dataclass(frozen=True)
class TransformersEngine:
    """A model ready to be sampled."""

    name: str  # as it was asked for
    model: Any
    tokenizer: Any
    eos_ids: list[int]
    think_prefilled: bool

    def identity(self) -> dict[str, Any]:
        """`engine` and `arithmetic`: precision and device."""
        parameter = next(self.model.parameters())
        arithmetic = f"{parameter.dtype} on {parameter.device.type}".removeprefix("torch.")
        return {"engine": "transformers generate", "arithmetic": arithmetic}

    def weights(self) -> str:
        """Short hash of the parameters."""
        return weights_hash(self.model)

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
        return sample(
            self.model,
            self.tokenizer,
            prompt_ids,
            max_new_tokens=plan.max_new_tokens,
            greedy=plan.name == "greedy",
            temperature=plan.temperature,
            top_p=plan.top_p,
            top_k=plan.top_k,
            batch_size=batch_size,
            seed=plan.seed,
            eos_ids=self.eos_ids,
            progress=progress,
            done=done,
            keep=keep,
        )

    @property
    def context(self) -> int | None:
        """Tokens of prompt and completion together that the model was made for; None: not stated."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)


def load(
    name: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    tokenizer: str | None = None,
    think: bool | None = None,
    trust_remote_code: bool = False,
) -> TransformersEngine:
    """Load a model (adapters on their base) with its tokenizer for sampling.

    Args:
        name: see `find`.
        device: default: the GPU, if there is one.
        dtype: of the weights; default: float32 on a CPU, as saved on a GPU.
        revision: of a hub model; ignored for folders.
        tokenizer: folder or hub id of another tokenizer than the model's own.
        think: the chat template opens `<think>`; None: found from the template.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        BadInput: no such model, no network, or files that can't be loaded.
    """
    source = find(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or ("float32" if device == "cpu" else "auto")
    transformers_logging.disable_progress_bar()  # one bar a model beside ours
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if not Path(source).is_dir():
        options["revision"] = revision
    try:
        spoken = AutoTokenizer.from_pretrained(
            locate(tokenizer) if tokenizer else source, padding_side="left", **({} if tokenizer else options)
        )
        model: Any = _weights(source, dtype, options).to(device).eval()
    except Exception as error:  # transformers, hub, safetensors and network each raise types of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        remedy = (
            "check the files, or save the model again"
            if Path(source).is_dir()
            else "check the name and the network, or give the folder of a downloaded model"
        )
        raise BadInput(f"model {name!r} could not be loaded ({reason}); {remedy}") from error
    prefilled = think_prefilled(spoken) if think is None else think
    return TransformersEngine(name, model, spoken, end_ids(model, spoken), prefilled)


def weights_hash(model: Any) -> str:
    """Short hash of the parameters: names, shapes, and two sums of each."""
    found = []
    with torch.no_grad():
        for name, values in model.named_parameters():
            flat = values.detach().reshape(-1)
            sums = [flat.sum(dtype=torch.float64).item(), flat[::7].sum(dtype=torch.float64).item()]
            found.append([name, list(values.shape), *map(repr, sums)])
    return hashlib.blake2b(json.dumps(found).encode(), digest_size=6).hexdigest()


def _weights(source: str, dtype: str, options: dict[str, Any]) -> Any:
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
