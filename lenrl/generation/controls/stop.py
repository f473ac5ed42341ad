"""`stop` and `brake`: the token that ends thinking, made more likely or taken where it nearly is the most likely one.

Both are functions of the tokens so far and of their logits; where the dial is 0 they change nothing, bit for bit.
Sources: stop: arXiv 2505.07961; brake: arXiv 2510.00546.
"""

import abc
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from lenrl.errors import BadInput
from lenrl.generation.base import Completion, Engine, Stage
from lenrl.generation.controls.base import Control, ControlledRow, Dial, Stages
from lenrl.generation.controls.thinking import Thinking

FIRST = 3  # tokens of a completion after which a line may end the thinking: one step at least stands before


class WhileThinking(LogitsProcessor):
    """Changes logits of the prefixes whose thinking is open, at all places or at the begin of a line."""

    def __init__(self, control: "_Logits", thinking: Thinking) -> None:
        self._control = control
        self._close = thinking.one_id(control.label, thinking.close)
        self._open = None if thinking.prefilled else thinking.one_id(control.label, thinking.open)
        self._ends_line_V = thinking.ends_line_V if control.resolved(thinking)["at"] == "step" else None
        self._start: int | None = None  # of the completions: the first call sees prompts alone

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._start = input_ids.shape[1] if self._start is None else self._start
        own_UT = input_ids[:, self._start :]
        acts_U = ~(own_UT == self._close).any(-1)
        if self._open is not None:
            acts_U &= (own_UT == self._open).any(-1)
        if self._ends_line_V is not None:
            acts_U &= self._ends_line_V.to(input_ids.device)[input_ids[:, -1]] & (own_UT.shape[1] >= FIRST)
        changed_UV = self._control.changed(scores, self._close)
        return torch.where(acts_U[:, None], changed_UV, scores)


class _Logits(Control, abc.ABC):
    """Base of the two."""

    def resolved(self, thinking: Thinking) -> dict[str, Any]:
        return {"at": self.options.at or "step"}

    def check(self, thinking: Thinking, cap: int, engine: Engine) -> None:
        WhileThinking(self, thinking)

    def logits(self, thinking: Thinking) -> Callable[[], LogitsProcessor]:
        return partial(WhileThinking, self, thinking)

    def stages(self, thinking: Thinking, row: ControlledRow) -> Stages:
        """See `Control`: where the engine shapes no logits itself, a line, then the token that begins the next one."""
        close, ids = thinking.one_id(self.label, thinking.close), list[int]()
        if not thinking.prefilled:
            opened = thinking.one_id(self.label, thinking.open)
            found = yield Stage([], row.cap, frozenset({opened}))
            if found.truncated or found.ids[-1] != opened:
                return found
            ids = found.ids
        anywhere = self.resolved(thinking)["at"] == "any"
        lines = frozenset(thinking.ends_line_V.nonzero().flatten().tolist())
        while len(ids) < row.cap:
            left = row.cap - len(ids)
            begins = anywhere or len(ids) >= FIRST and ids[-1] in lines
            if begins:
                found = yield self.at_place(ids, left if anywhere else 1, close)
            else:
                found = yield Stage(ids, left, lines | {close})
            if begins and self.ends(found):
                found = Completion([close], False, forced=1)
            ids = [*ids, *found.ids]
            if not found.ids or ids[-1] in thinking.info.eos_ids:
                return Completion(ids, not found.ids)
            if ids[-1] == close:
                answer = yield Stage(ids, row.cap - len(ids))
                return Completion([*ids, *answer.ids], answer.truncated, forced=found.forced)
        return Completion(ids, True)

    def ends(self, found: Completion) -> bool:
        """Thinking ends in place of the token that a stage gave."""
        return False

    @abc.abstractmethod
    def at_place(self, ids: list[int], most: int, close: int) -> Stage:
        """The stage of the next tokens where thinking may be ended."""

    @abc.abstractmethod
    def changed(self, scores_UV: Tensor, close: int) -> Tensor:
        """Logits while thinking may be ended; `close` is the token that ends it."""


class Stop(_Logits):
    """The logit of the token that ends thinking, plus the dial (nats), or divided by it."""

    dial_of = Dial("nats, or with control.by=scale a temperature", -100, 100)
    knows = frozenset({"by", "at"})

    def check(self, thinking: Thinking, cap: int, engine: Engine) -> None:
        super().check(thinking, cap, engine)
        if not engine.shapes_logits and self.options.by == "scale":
            raise BadInput(
                f"{self.label}: a server adds to a logit and can't divide it; give control.by=bias, or "
                "engine=transformers"
            )
        if self.options.by == "scale" and self.dial <= 0:
            raise BadInput(
                f"{self.label}: with control.by=scale the dial divides the logit; give one above 0"
            )

    def changed(self, scores_UV: Tensor, close: int) -> Tensor:
        changed_UV = scores_UV.clone()
        if self.options.by == "scale":
            changed_UV[:, close] /= self.dial
        else:
            changed_UV[:, close] += self.dial
        return changed_UV

    def at_place(self, ids: list[int], most: int, close: int) -> Stage:
        return Stage(ids, most, frozenset({close}), bias=(close, float(self.dial)))


class Brake(_Logits):
    """Thinking ends where no token's log-prob is more than the dial (nats) above that of its end."""

    dial_of = Dial("nats", 0)
    knows = frozenset({"at"})

    def check(self, thinking: Thinking, cap: int, engine: Engine) -> None:
        super().check(thinking, cap, engine)
        if not engine.shapes_logits and self.options.at == "any":
            raise BadInput(
                f"{self.label}: control.at=any would ask the server once a token; leave it out, or give "
                "engine=transformers"
            )

    def at_place(self, ids: list[int], most: int, close: int) -> Stage:
        return Stage(ids, 1, frozenset({close}), margin_of=close)

    def ends(self, found: Completion) -> bool:
        return found.margin is not None and found.margin < self.dial

    def changed(self, scores_UV: Tensor, close: int) -> Tensor:
        margin_U = scores_UV.amax(-1) - scores_UV[:, close]
        ended_UV = torch.full_like(scores_UV, -torch.inf)
        ended_UV[:, close] = 0.0
        return torch.where((margin_U < self.dial)[:, None], ended_UV, scores_UV)
