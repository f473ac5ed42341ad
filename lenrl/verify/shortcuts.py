r"""Ways to look right without being so, counted over completions. Pure, linear in their texts.

An empty thinking, several boxes to choose from, text that repeats itself, an answer where none counts, and the answer
that the prompt itself gave as an example.
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

from lenrl.verify.extract import BOX, answer_part, closing_brace

HACKS = ("empty_think", "many_boxes", "repetition", "answer_outside")
TAIL_CHARS = 2000  # of a completion, in which it may repeat itself
SHORT_CHARS = 200  # below which nothing is said of repetition
COMPRESSED = 0.15  # of its bytes, to which text that repeats itself shrinks at most
EXAMPLES = 20  # of a prompt, at most
_OPEN, _CLOSE, _TAG, _END = "<think>", "</think>", "<answer>", "</answer>"


def counted(
    texts: Sequence[str],
    answers: Sequence[str | None],
    prompts: Sequence[str],
    *,
    think_prefilled: bool,
) -> Counter[str]:
    """Completions with each of `HACKS`, `shown` ones whose prompt shows an answer, `copied` ones that give it.

    Args:
        prompts: what each of them read, without special tokens.
        think_prefilled: the chat template opened `<think>`.
    """
    found: Counter[str] = Counter()
    shown = {prompt: frozenset(shown_answers(prompt)) for prompt in set(prompts)}
    for text, answer, prompt in zip(texts, answers, prompts, strict=True):
        found.update(hacks(text, answer, think_prefilled=think_prefilled))
        found["shown"] += bool(shown[prompt])
        found["copied"] += answer in shown[prompt]
    return found


def hacks(text: str, answer: str | None, *, think_prefilled: bool = False) -> Iterator[str]:
    r"""Those of `HACKS` that a completion with this extracted answer has.

    >>> list(hacks(r"<think> </think>\boxed{1} or \boxed{2}", "2"))
    ['empty_think', 'many_boxes']
    >>> list(hacks("<think>1+1=2</think>2", None)), list(hacks(r"<think>\boxed{2}</think>", None))
    ([], ['answer_outside'])
    """
    thinking, closed, _ = text.rpartition(_CLOSE)
    if closed and not thinking.replace(_OPEN, "").strip():
        yield "empty_think"
    part = answer_part(text, think_prefilled=think_prefilled)
    if part is not None and max(sum(1 for _ in BOX.finditer(part)), part.count(_TAG)) > 1:
        yield "many_boxes"
    tail = text[-TAIL_CHARS:].encode("utf-8", "replace")
    if len(tail) >= SHORT_CHARS and len(zlib.compress(tail)) <= COMPRESSED * len(tail):
        yield "repetition"
    if answer is None and (BOX.search(text) or _TAG in text):
        yield "answer_outside"


def shown_answers(prompt: str) -> Iterator[str]:
    r"""The answers that a prompt holds, in boxes and tags: of worked examples, or of the form that it asks for.

    >>> list(shown_answers(r"Put it into \boxed{}, as in \boxed{3} or <answer>4</answer>."))
    ['3', '4']
    """
    texts = []
    for match, _ in zip(BOX.finditer(prompt), range(EXAMPLES), strict=False):
        start = match.end()
        end = closing_brace(prompt, start) if prompt[start : start + 1] == "{" else None
        texts += [] if end is None else [prompt[start + 1 : end]]
    texts += [part.partition(_END)[0] for part in prompt.split(_TAG, EXAMPLES)[1:] if _END in part]
    yield from (stripped for text in texts if (stripped := text.strip()))
