"""A cap for each row of a batch that vLLM samples with one set of parameters."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def row_caps(llm: Any, caps: Sequence[int]) -> Iterator[None]:
    """Within the block `llm.generate` ends row i after at most `caps[i]` tokens, so that its place is free for others.

    Args:
        caps: tokens, one a prompt of each call.
    """
    generate = llm.generate

    def capped(prompts: Sequence[Any], sampling_params: Any, **options: Any) -> Any:
        each = [copy.copy(sampling_params) for _ in prompts]
        for parameters, cap in zip(each, caps, strict=True):
            parameters.max_tokens = cap
        return generate(prompts, sampling_params=each, **options)

    llm.generate = capped
    try:
        yield
    finally:
        llm.generate = generate
