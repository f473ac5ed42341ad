"""vLLM in this process as engine, in an environment that has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl.engine.sample import Completion, noise_keys
from lenrl.errors import BadInput
from lenrl.models import find
from lenrl.study.engines.spoken import Spoken, spoken

if TYPE_CHECKING:
    from lenrl.study.outcome import Decoding

AT_A_TIME = 512  # completions between two writes to disk


class Offline:
    """A model in vLLM's offline engine."""

    def __init__(self, name: str, llm: Any, speech: Spoken, dtype: str) -> None:
        self.name = name
        self.tokenizer, self.eos_ids = speech.tokenizer, speech.eos_ids
        self.think_prefilled, self.context = speech.think_prefilled, speech.context
        self._llm = llm
        self._dtype = dtype

    def identity(self) -> dict[str, Any]:
        """vLLM's version, and the precision it was asked for."""
        return {"engine": f"vllm {version('vllm')}", "arithmetic": self._dtype}

    def weights(self) -> None:
        """Unknown: they are in vLLM's own layout."""
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
        """See `lenrl.study.engines.Engine`; vLLM makes its own batches of `batch_size` requests."""
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        greedy = plan.name == "greedy"
        drawn = (
            {"temperature": 0.0}
            if greedy
            else {"temperature": plan.temperature, "top_p": plan.top_p, "top_k": plan.top_k or -1}
        )
        keys = noise_keys(prompt_ids, plan.seed)
        found = dict(done)
        progress(len(found))
        missing = [row for row in range(len(prompt_ids)) if row not in found]
        size = batch_size or AT_A_TIME
        for start in range(0, len(missing), size):
            rows = missing[start : start + size]
            params = [
                SamplingParams(
                    max_tokens=plan.max_new_tokens,
                    stop_token_ids=self.eos_ids,
                    seed=keys[row] % 2**31,
                    detokenize=False,
                    **drawn,
                )
                for row in rows
            ]
            prompts = [{"prompt_token_ids": list(prompt_ids[row])} for row in rows]
            outputs = self._llm.generate(prompts, params, use_tqdm=False)
            completions = {
                row: Completion(
                    list(output.outputs[0].token_ids), output.outputs[0].finish_reason == "length"
                )
                for row, output in zip(rows, outputs, strict=True)
            }
            found |= completions
            keep(completions)
            progress(len(rows))
        return [found[row] for row in range(len(prompt_ids))]


def load(
    name: str,
    *,
    revision: str | None = None,
    tokenizer: str | None = None,
    think: bool | None = None,
    trust_remote_code: bool = False,
    device: str | None = None,
    dtype: str | None = None,
) -> Offline:
    """A model in vLLM; the arguments are those of `lenrl.study.models.load`.

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
            f"model {name!r} is an adapter; for engine=vllm put it into its base first: scripts/merge {name}"
        )
    speech = spoken(
        name, revision=revision, tokenizer=tokenizer, think=think, trust_remote_code=trust_remote_code
    )
    from vllm import LLM  # pyright: ignore[reportMissingImports]

    llm = LLM(model=source, dtype=dtype or "auto", revision=revision, trust_remote_code=trust_remote_code)
    return Offline(name, llm, speech, dtype or "auto")
