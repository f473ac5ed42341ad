"""Problems and an engine in, completions with verdicts out: under `lenrl eval` and the development evaluation."""

import time
from collections.abc import Sequence

from lenrl.evaluation.results import ModelResults
from lenrl.generation.base import Batches, Decoding, Engine
from lenrl.generation.sampling import completion_text
from lenrl.tasks import Problem
from lenrl.verify.pool import Claim, Verifier


def measure(
    engine: Engine,
    problems: Sequence[Problem],
    prompt_ids: Sequence[Sequence[int]],
    decoding: Decoding,
    verifier: Verifier,
    *,
    batches: Batches,
) -> ModelResults:
    """Sample each problem's completions and verify them.

    Args:
        engine: the model.
        problems: P problems.
        prompt_ids: their P prompts, token ids.
        decoding: how completions are drawn, and how many a prompt.
        verifier: judges them.
        batches: the order of the work.
    """
    began = time.perf_counter()
    rows = [ids for ids in prompt_ids for _ in range(decoding.samples)]
    completions = engine.sample(rows, decoding, batches)
    sampled = time.perf_counter()
    info = engine.info
    texts = [completion_text(info.tokenizer, c.ids, info.eos_ids) for c in completions]
    asked = [problem for problem in problems for _ in range(decoding.samples)]
    verdicts = verifier.verify(
        [Claim(t, p.answer, info.think_prefilled, p.columns) for t, p in zip(texts, asked, strict=True)]
    )
    rendered = [str(info.tokenizer.decode(list(ids), skip_special_tokens=False)) for ids in prompt_ids]
    seconds = {"generate": sampled - began, "verify": time.perf_counter() - sampled}
    return ModelResults(engine.name, decoding, problems, completions, texts, verdicts, seconds, rendered)
