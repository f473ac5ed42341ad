"""vLLM in this process as engine, in an environment that has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl.errors import BadInput
from lenrl.generation.base import Completion
from lenrl.generation.external import ExternalEngine, Request, TokenizerInfo, spoken
from lenrl.generation.names import find

if TYPE_CHECKING:
    from lenrl.generation.base import Decoding

AT_A_TIME = 512  # completions between two writes to disk


class VllmEngine(ExternalEngine):
    """A model in vLLM's offline engine."""

    def __init__(self, name: str, llm: Any, speech: TokenizerInfo, dtype: str) -> None:
        super().__init__(name, speech)
        self._llm = llm
        self._dtype = dtype

    def identity(self) -> dict[str, Any]:
        """vLLM's version, and the precision it was asked for."""
        return {"engine": f"vllm {version('vllm')}", "arithmetic": self._dtype}

    def completed(
        self, requests: Sequence[Request], plan: Decoding, batch_size: int | None
    ) -> Iterator[dict[int, Completion]]:
        """See `ExternalEngine`; within `batch_size` requests vLLM makes its own batches."""
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        shared: dict[str, Any] = {"max_tokens": plan.max_new_tokens, "stop_token_ids": self.eos_ids}
        shared |= {"detokenize": False, "temperature": 0.0}
        if plan.name != "greedy":
            shared |= {"temperature": plan.temperature, "top_p": plan.top_p, "top_k": plan.top_k or -1}
        size = batch_size or AT_A_TIME
        for start in range(0, len(requests), size):
            some = requests[start : start + size]
            outputs = self._llm.generate(
                [{"prompt_token_ids": request.prompt} for request in some],
                [SamplingParams(seed=request.seed, **shared) for request in some],
                use_tqdm=False,
            )
            yield {
                request.row: Completion(list(found.token_ids), found.finish_reason == "length")
                for request, found in zip(some, (output.outputs[0] for output in outputs), strict=True)
            }


def load(
    name: str,
    *,
    revision: str | None = None,
    tokenizer: str | None = None,
    think: bool | None = None,
    trust_remote_code: bool = False,
    device: str | None = None,
    dtype: str | None = None,
) -> VllmEngine:
    """A model in vLLM; the arguments are those of `lenrl.generation.transformers_engine.load`.

    Raises:
        BadInput: vLLM is missing, `device` is given, or the model is an adapter.
    """
    if find_spec("vllm") is None:
        raise BadInput(
            "engine=vllm needs vLLM in this environment, which pins other packages: use one of its own"
        )
    if device:
        raise BadInput(f"device={device}: vLLM chooses its own; leave it out, or set CUDA_VISIBLE_DEVICES")
    source = find(name)
    if (Path(source) / "adapter_config.json").is_file():
        raise BadInput(
            f"model {name!r} is an adapter; for engine=vllm put it into its base first: scripts/merge.py {name}"
        )
    speech = spoken(
        name, revision=revision, tokenizer=tokenizer, think=think, trust_remote_code=trust_remote_code
    )
    from vllm import LLM  # pyright: ignore[reportMissingImports]

    llm = LLM(model=source, dtype=dtype or "auto", revision=revision, trust_remote_code=trust_remote_code)
    return VllmEngine(name, llm, speech, dtype or "auto")
