"""`exit`: thinking that ends as soon as the model is sure of an answer on trial (DEER, arXiv 2504.15895)."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lenrl.generation.base import Completion, Stage
from lenrl.generation.controls.base import Control, ControlledRow, Dial, Stages
from lenrl.generation.controls.thinking import Span, Thinking


class Exit(Control):
    """At each `Wait` the model answers on trial, greedily; above the confidence of the dial the thinking ends there."""

    dial_of = Dial("confidence", 0, 1, open=True)
    knows = frozenset({"word", "trial", "trials", "trial_tokens", "mean"})

    def resolved(self, thinking: Thinking) -> dict[str, Any]:
        return {"trial": thinking.begun.lstrip("\n") if self.options.trial is None else self.options.trial}

    def stages(self, thinking: Thinking, row: ControlledRow) -> Stages:
        ids, thrown = row.free.ids, 0
        span = thinking.span(ids)
        for place in [] if span is None else self._places(thinking, ids, span):
            kept = list(ids[:place])
            begun = [*kept, *thinking.on_new_line(kept, self.resolved(thinking)["trial"])]
            logps, tokens = yield from self._trial(thinking, begun)
            thrown += len(begun) - len(kept) + tokens
            if confidence(logps, self.options.mean) > self.dial:
                forced = thinking.on_new_line(kept, f"{thinking.close}\n\n")
                kept += forced
                answer = yield Stage(kept, row.cap - len(kept))
                kept += answer.ids
                return Completion(kept, answer.truncated, spent=len(kept) + thrown, forced=len(forced))
        return replace(row.free, spent=len(ids) + thrown) if thrown else row.free

    def _places(self, thinking: Thinking, ids: Sequence[int], span: Span) -> list[int]:
        """Tokens before each word, as many as there are trials."""
        text, word, places = thinking.text(ids), self.options.word, list[int]()
        character = text.find(word)
        while character >= 0 and len(places) < self.options.trials:
            place = thinking.before(ids, character)
            if place >= span.end:
                break
            if place > span.start:
                places.append(place)
            character = text.find(word, character + len(word))
        return places

    def _trial(
        self, thinking: Thinking, begun: Sequence[int]
    ) -> Generator[Stage, Completion, tuple[list[float], int]]:
        """Log-probs of the answer's tokens, up to the brace that closes its box, and the number of those decoded."""
        ids, logps, left = list[int](), list[float](), self.options.trial_tokens
        while left:
            found = yield Stage([*begun, *ids], left, thinking.braces, greedy=True, logps=True)
            ids, logps, left = [*ids, *found.ids], [*logps, *(found.logps or [])], left - len(found.ids)
            if not found.ids or found.ids[-1] not in thinking.braces or closed(thinking.text(ids)):
                break
        inside = len(ids) - bool(ids and (ids[-1] in thinking.info.eos_ids or closed(thinking.text(ids))))
        return logps[:inside], len(ids)


def closed(text: str) -> bool:
    r"""A brace of the text closes more than the text opens: the box before it.

    >>> closed("\\frac{1}{2}"), closed("\\frac{1}{2}}.")
    (False, True)
    """
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return True
    return False


def confidence(logps: Sequence[float], mean: str) -> float:
    """Mean probability of tokens, 0 of none.

    >>> [round(confidence(np.log([0.99, 0.9, 0.8]), mean), 4) for mean in ("arithmetic", "geometric")]
    [0.8967, 0.8933]
    """
    if not len(logps):
        return 0.0
    return float(np.exp(np.mean(logps)) if mean == "geometric" else np.mean(np.exp(logps)))
