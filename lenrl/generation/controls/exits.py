"""`exit`: thinking that ends as soon as the model is sure of an answer on trial (DEER, arXiv 2504.15895)."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lenrl.errors import BadInput
from lenrl.generation.base import Completion, Engine, Stage
from lenrl.generation.controls.base import Control, ControlledRow, Dial, Stages
from lenrl.generation.controls.thinking import Span, Thinking


class Exit(Control):
    """At each `Wait` the model answers on trial, greedily; above the confidence of the dial the thinking ends there."""

    dial_of = Dial("confidence", 0, 1, open=True)
    knows = frozenset({"word", "trial", "trials", "trial_tokens", "mean"})

    def check(self, thinking: Thinking, cap: int, engine: Engine) -> None:
        if reason := engine.no_logps():
            raise BadInput(
                f"{self.label} needs log-probs, and {engine.name!r} gives none: {reason}; choose another control"
            )

    def resolved(self, thinking: Thinking) -> dict[str, Any]:
        return {"trial": thinking.begun.lstrip("\n") if self.options.trial is None else self.options.trial}

    def stages(self, thinking: Thinking, row: ControlledRow) -> Stages:
        ids, thrown, trial = row.free.ids, 0, self.resolved(thinking)["trial"]
        span = thinking.span(ids)
        for place in [] if span is None else self._places(thinking, ids, span):
            kept = list(ids[:place])
            begun = [*kept, *thinking.on_new_line(kept, trial)]
            logps, tokens = yield from self._trial(thinking, begun, "<answer>" in trial)
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
        self, thinking: Thinking, begun: Sequence[int], tagged: bool
    ) -> Generator[Stage, Completion, tuple[list[float], int]]:
        """Log-probs of the answer's tokens, up to what closes its box or tag, and the number of those decoded."""
        ids, logps, left, end = list[int](), list[float](), self.options.trial_tokens, None
        stops = thinking.brackets if tagged else thinking.braces
        while left and end is None:
            found = yield Stage([*begun, *ids], left, stops, greedy=True, logps=True)
            ids, logps, left = [*ids, *found.ids], [*logps, *(found.logps or [])], left - len(found.ids)
            end = answer_end(thinking.text(ids), tagged)
            if not found.ids or found.ids[-1] not in stops:
                break
        ended = bool(ids and ids[-1] in thinking.info.eos_ids)
        inside = len(ids) - ended if end is None else thinking.before(ids, end)
        return logps[:inside], len(ids)


def answer_end(text: str, tagged: bool) -> int | None:
    r"""The characters before what closes an answer's tag, or its box: a brace more than the text opens; None: open.

    >>> answer_end("\\frac{1}{2}", False), answer_end("\\frac{1}{2}}.", False), answer_end("7</answer>", True)
    (None, 11, 1)
    """
    if tagged:
        place = text.find("</answer>")
        return None if place < 0 else place
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return place
    return None


def confidence(logps: Sequence[float], mean: str) -> float:
    """Mean probability of tokens, 0 of none.

    >>> [round(confidence(np.log([0.99, 0.9, 0.8]), mean), 4) for mean in ("arithmetic", "geometric")]
    [0.8967, 0.8933]
    """
    if not len(logps):
        return 0.0
    return float(np.exp(np.mean(logps)) if mean == "geometric" else np.mean(np.exp(logps)))
