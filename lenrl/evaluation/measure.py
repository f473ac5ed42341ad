"""Problems and an engine in, completions with verdicts out: under `lenrl eval` and the development evaluation."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lenrl.evaluation.results import ModelResults
from lenrl.generation.base import Batches, Completion, Decoding, Engine
from lenrl.generation.pretrained import TokenizerInfo
from lenrl.generation.sampling import completion_text
from lenrl.measures import summarise
from lenrl.tasks import Problem
from lenrl.verify.claims import AnyVerifier, Claim
from lenrl.verify.extract import CLOSE

Sampler = Callable[[Sequence[Sequence[int]], Decoding, Batches], list[Completion]]
"""As `Engine.sample`."""


def measure(
    engine: Engine,
    problems: Sequence[Problem],
    prompt_ids: Sequence[Sequence[int]],
    decoding: Decoding,
    verifier: AnyVerifier,
    *,
    batches: Batches,
    sample: Sampler | None = None,
    prefill: str = "",
) -> ModelResults:
    """Sample each problem's completions and verify them, each as soon as the engine says that it has ended.

    Args:
        sample: samples in the engine's place; None: the engine does.
        prefill: text at the end of each prompt that counts as the completion's for the verifier.
    """
    began = time.perf_counter()
    rows = [ids for ids in prompt_ids for _ in range(decoding.samples)]
    asked = [problem for problem in problems for _ in range(decoding.samples)]
    info, pending, texts = engine.info, verifier.begin(), dict[int, str]()

    def judge(completions: Mapping[int, Completion]) -> None:
        """Begin with the verification of completions, by row, that have just ended."""
        new = {row: completion_text(info.tokenizer, c.ids, info.eos_ids) for row, c in completions.items()}
        texts.update(new)
        pending.submit(
            {
                row: Claim(prefill + text, p.answer, info.think_prefilled, p.judged_by, p.part)
                for row, text in new.items()
                for p in [asked[row]]
            }
        )

    completions = _sampled(sample or engine.sample, rows, decoding, replace(batches, ended=judge), info)
    judge({row: completion for row, completion in enumerate(completions) if row not in texts})
    sampled = time.perf_counter()
    by_row = pending.verdicts()
    verdicts = [by_row[row] for row in range(len(rows))]
    seconds = {"generate": sampled - began, "verify": time.perf_counter() - sampled}
    in_order = [texts[row] for row in range(len(rows))]
    rendered = [str(info.tokenizer.decode(list(ids), skip_special_tokens=False)) for ids in prompt_ids]
    return ModelResults(
        engine.name,
        decoding,
        problems,
        completions,
        in_order,
        verdicts,
        seconds,
        rendered,
        prompt_tokens=[len(ids) for ids in prompt_ids],
        prefill=prefill,
    )


def _sampled(
    sample: Sampler,
    rows: Sequence[Sequence[int]],
    decoding: Decoding,
    batches: Batches,
    info: TokenizerInfo,
) -> list[Completion]:
    """Completions of `sample` with summaries in place of log-probs, those that are kept on the way as well."""

    def keep(some: Mapping[int, Completion]) -> None:
        batches.keep({row: _summarised(completion, info) for row, completion in some.items()})

    return [
        _summarised(completion, info) for completion in sample(rows, decoding, replace(batches, keep=keep))
    ]


def _summarised(completion: Completion, info: TokenizerInfo) -> Completion:
    """The completion with summaries in place of its log-probs, where it has some."""
    if completion.logps is None:
        return completion
    close = info.tokenizer(CLOSE, add_special_tokens=False)["input_ids"]
    ended = len(close) == 1 and close[0] in completion.ids
    after = len(completion.ids) - completion.ids[::-1].index(close[0]) if ended else 0
    return replace(completion, logps=None, confidence=summarise(completion.logps, after))
