"""vLLM in this process as engine, in an environment that has it."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput
from lenrl.generation.base import TOP, Completion, Decoding
from lenrl.generation.external import ExternalEngine, Request
from lenrl.generation.pretrained import ModelOptions, TokenizerInfo, find, load_tokenizer_info
from lenrl.generation.weight_names import weights_name

AT_A_TIME = 512  # completions between two writes to disk


class VllmEngine(ExternalEngine):
    """A model in vLLM's offline engine."""

    def __init__(self, name: str, info: TokenizerInfo, llm: Any, dtype: str, weights: str) -> None:
        super().__init__(name, info)
        self._llm = llm
        self._dtype = dtype
        self._weights = weights

    def identity(self) -> dict[str, str]:
        """vLLM's version, and the precision it was asked for."""
        return {"engine": f"vllm {version('vllm')}", "arithmetic": self._dtype}

    def weights(self) -> str:
        """See `weights_name`."""
        return self._weights

    def completed(
        self, requests: Sequence[Request], decoding: Decoding, batch_size: int | None
    ) -> Iterator[dict[int, Completion]]:
        """See `ExternalEngine`; within `batch_size` requests vLLM makes its own batches."""
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        shared: dict[str, object] = {"detokenize": False, "temperature": 0.0}
        if not decoding.greedy:
            shared |= {
                "temperature": decoding.temperature,
                "top_p": decoding.top_p,
                "top_k": decoding.top_k or -1,
            }
        size = batch_size or AT_A_TIME
        for start in range(0, len(requests), size):
            some = requests[start : start + size]
            outputs = self._llm.generate(
                [{"prompt_token_ids": request.prompt} for request in some],
                [SamplingParams(seed=r.seed, **{**shared, **self._own(r)}) for r in some],
                use_tqdm=False,
            )
            yield {
                request.row: Completion(
                    list(answer.token_ids),
                    answer.finish_reason == "length",
                    _logps(request, answer),
                    margin=_margin(request, answer),
                )
                for request, answer in zip(some, (output.outputs[0] for output in outputs), strict=True)
            }

    def _own(self, request: Request) -> dict[str, object]:
        """Parameters of one request."""
        own: dict[str, object] = {"max_tokens": request.most, "stop_token_ids": self.info.eos_ids}
        own |= {"logprobs": 0} if request.logps else {}
        if (stage := request.stage) is None:
            return own
        own["stop_token_ids"] = sorted({*self.info.eos_ids, *stage.stops})
        own |= {"min_tokens": 1} if stage.goes_on else {}
        own |= {} if stage.margin_of is None else {"logprobs": TOP}
        own |= {"temperature": 0.0} if stage.greedy else {}
        return own | ({"logit_bias": dict([stage.bias])} if stage.bias else {})


def _logps(request: Request, answer: Any) -> list[float] | None:
    """Log-probs of the answer's tokens, where they were asked for; vLLM's are of the model's own distribution."""
    if not request.logps:
        return None
    pairs = zip(answer.token_ids, answer.logprobs, strict=True)
    return [some[token].logprob for token, some in pairs]


def _margin(request: Request, answer: Any) -> float | None:
    """The stage's margin, where it was asked for."""
    if request.stage is None or request.stage.margin_of is None:
        return None
    logps = {token: some.logprob for token, some in answer.logprobs[0].items()}
    return max(logps.values()) - logps.get(request.stage.margin_of, float("-inf"))


def load(name: str, options: ModelOptions) -> VllmEngine:
    """A model in vLLM.

    Raises:
        BadInput: vLLM is missing, `device` is given, or the model is an adapter.
    """
    if find_spec("vllm") is None:
        raise BadInput(
            "engine=vllm needs vLLM in this environment, which pins other packages: use one of its own"
        )
    if options.device:
        raise BadInput(
            f"device={options.device}: vLLM chooses its own; leave it out, or set CUDA_VISIBLE_DEVICES"
        )
    source = find(name)
    if (Path(source) / "adapter_config.json").is_file():
        raise BadInput(
            f"model {name!r} is an adapter; for engine=vllm put it into its base first: lenrl merge {name}"
        )
    info = load_tokenizer_info(name, options)
    from vllm import LLM  # pyright: ignore[reportMissingImports]

    dtype = options.dtype or "auto"
    own = {"revision": options.revision, "trust_remote_code": options.trust_remote_code}
    llm = LLM(model=source, dtype=dtype, **own)
    return VllmEngine(name, info, llm, dtype, weights_name(source, options.revision))
