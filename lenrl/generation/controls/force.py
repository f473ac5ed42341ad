"""`force` and `wait`: thinking that is ended at a number of tokens, or not let end (s1, arXiv 2501.19393)."""

from typing import Any

from lenrl.errors import BadInput
from lenrl.generation.base import Completion, Engine, Stage
from lenrl.generation.controls.base import Control, ControlledRow, Dial, Stages
from lenrl.generation.controls.thinking import Thinking

LATEST = 64  # tokens that `force` waits for a line's end


class Force(Control):
    """Thinking of B tokens at most: it is closed there, an answer is begun, and the model writes it."""

    dial_of = Dial("tokens of thinking", 1, whole=True)
    knows = frozenset({"at", "answer", "answer_tokens"})

    def resolved(self, thinking: Thinking) -> dict[str, Any]:
        answer = self.options.answer
        return {"at": self.options.at or "any", "answer": thinking.begun if answer is None else answer}

    def check(self, thinking: Thinking, cap: int, engine: Engine) -> None:
        if self.dial >= cap:
            raise BadInput(
                f"{self.label}: the cap, max_new_tokens={cap}, comes first; lower the one or raise the other"
            )

    def stages(self, thinking: Thinking, row: ControlledRow) -> Stages:
        ids, budget, resolved = row.free.ids, int(self.dial), self.resolved(thinking)
        span = thinking.span(ids)
        if span is None or (len(span) <= budget and (span.closed or row.free.truncated)):
            return row.free
        cut = min(span.start + budget, span.end)  # end-of-text inside the thinking is taken for its end
        if resolved["at"] == "step" and cut < span.end:
            cut = next(iter(thinking.line_starts(ids, cut, min(cut + LATEST, span.end))), cut)
        forced = thinking.on_new_line(ids[:cut], thinking.close + resolved["answer"])
        kept = [*ids[:cut], *forced]
        answer = yield Stage(kept, self.options.answer_tokens)
        return Completion([*kept, *answer.ids], answer.truncated, forced=len(forced))


class Wait(Control):
    """Thinking that ends is continued with a word, n times; the ends that are taken away are paid."""

    dial_of = Dial("times", 1, whole=True)
    knows = frozenset({"word", "budget", "answer_tokens"})

    def check(self, thinking: Thinking, cap: int, engine: Engine) -> None:
        thinking.one_id(self.label, thinking.close)

    def stages(self, thinking: Thinking, row: ControlledRow) -> Stages:
        stops = frozenset({thinking.one_id(self.label, thinking.close)})
        word = thinking.ids(self.options.word)
        budget = self.options.budget or row.cap - min(self.options.answer_tokens, row.cap // 2)
        found, waits, whole = row.free, 0, True
        while waits < self.dial:
            span = thinking.span(found.ids)
            if span is None or len(span) >= budget or (found.truncated and not span.closed):
                break
            kept = [*found.ids[: span.end], *word]
            waits += 1
            more = yield Stage(kept, row.cap - len(kept), stops, goes_on=True)
            whole = more.truncated or more.ids[-1] not in stops
            found = Completion([*kept, *more.ids], more.truncated)
        if not whole:  # the last end stays: the answer
            more = yield Stage(found.ids, row.cap - len(found.ids))
            found = Completion([*found.ids, *more.ids], more.truncated)
        if not waits:
            return row.free
        spent = len(found.ids) + waits
        return Completion(found.ids, found.truncated, spent=spent, forced=waits * len(word))
