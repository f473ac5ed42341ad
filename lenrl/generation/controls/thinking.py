"""Thinking of a model as places among the tokens of a completion."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from lenrl.errors import BadInput
from lenrl.generation.pretrained import TokenizerInfo
from lenrl.generation.sampling import completion_text

BEGUN = {"boxed": "\n\n**Final Answer**\n\\boxed{", "answer_tag": "\n\n<answer>"}
"""Answers that are begun, by the verifier's format: a forced text without one would be judged wrong."""


@dataclass(frozen=True)
class Span:
    """Tokens `start` to `end` (excluded) of a completion: the inside of its thinking."""

    start: int
    end: int
    closed: bool  # by the closing words; else by end-of-text or the cap

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Thinking:
    """Words that open and close the thinking of one model, and texts as its tokens."""

    info: TokenizerInfo
    open: str
    close: str
    answer_format: str

    @property
    def prefilled(self) -> bool:
        """The prompt opens the thinking."""
        return self.info.think_prefilled

    @property
    def begun(self) -> str:
        """Words of an answer that is begun."""
        return BEGUN[self.answer_format]

    def ids(self, text: str) -> list[int]:
        """Token ids of a text inside a completion."""
        return self.info.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return completion_text(self.info.tokenizer, ids, self.info.eos_ids)

    def one_id(self, label: str, text: str) -> int:
        """The id of a text that is one token.

        Raises:
            BadInput: it is several.
        """
        ids = self.ids(text)
        if len(ids) != 1:
            raise BadInput(
                f"{text!r} is {len(ids)} tokens of this model; {label} needs one: give the words' first tokens as "
                f"control.open and control.close (of this: {self.text(ids[:1])!r}), or use force or exit"
            )
        return ids[0]

    def before(self, ids: Sequence[int], character: int) -> int:
        """The number of tokens whose text ends at a character of the completion's text or before it."""
        places = range(len(ids) + 1)
        return bisect_right(places, character, key=lambda place: len(self.text(ids[:place]))) - 1

    def span(self, ids: Sequence[int]) -> Span | None:
        """The inside of the thinking; None: it is never opened."""
        text = self.text(ids)
        opened = text.find(self.open)
        if opened < 0 and not self.prefilled:
            return None
        begin = 0 if self.prefilled else opened + len(self.open)
        closed = text.find(self.close, begin)
        start = self.before(ids, begin) if begin else 0
        if closed < 0:
            return Span(start, len(ids) - (ids[-1] in self.info.eos_ids), False)
        return Span(start, self.before(ids, closed), True)

    def on_new_line(self, ids: Sequence[int], text: str) -> list[int]:
        """Token ids of a text that begins a line, after these."""
        return self.ids(text if self.text(ids).endswith("\n") else f"\n{text}")

    def line_starts(self, ids: Sequence[int], start: int, end: int) -> list[int]:
        """Places from `start` to `end` before which a token ends with a newline."""
        return [place for place in range(max(start, 1), end) if self.ends_line_V[ids[place - 1]]]

    @cached_property
    def ends_line_V(self) -> torch.Tensor:
        """True for the ids whose text ends with a newline; a model may have more ids than its tokenizer."""
        ends = [self.text([token]).endswith("\n") for token in range(len(self.info.tokenizer))]
        config = self.info.config and self.info.config.get_text_config()
        return torch.tensor(ends + [False] * (getattr(config, "vocab_size", 0) - len(ends)))

    @cached_property
    def braces(self) -> frozenset[int]:
        """Ids whose text holds a closing brace."""
        return self._holding("}")

    @cached_property
    def brackets(self) -> frozenset[int]:
        """Ids whose text holds the end of a tag."""
        return self._holding(">")

    def _holding(self, sign: str) -> frozenset[int]:
        return frozenset(token for token in range(len(self.info.tokenizer)) if sign in self.text([token]))
