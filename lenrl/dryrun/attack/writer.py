"""Completions written by hand: real text for the verifier, a length in tokens for the reward.

No tokenizer is loaded: a token is 4 characters, whatever the model. What is cut off is cut off the text too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

CHARS_A_TOKEN = 4
VOCABULARY = 32_000
LOOP = "Wait, let me check that again. "


@dataclass(frozen=True)
class Completion:
    """A text, and whether it ended by itself (an EOS follows it) or was cut off."""

    text: str
    ended: bool = True

    @property
    def tokens(self) -> int:
        """EOS counted."""
        return -(-len(self.text) // CHARS_A_TOKEN) + self.ended

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Made-up ids, equal for equal tokens; 0 is the EOS."""
        pieces = (self.text[i : i + CHARS_A_TOKEN] for i in range(0, len(self.text), CHARS_A_TOKEN))
        return (*(1 + crc32(piece.encode()) % VOCABULARY for piece in pieces), *[0] * self.ended)

    def cut(self, tokens: int) -> Completion:
        """Its first `tokens` tokens; itself if it has no more."""
        if self.tokens <= tokens:
            return self
        return Completion(self.text[: tokens * CHARS_A_TOKEN], ended=False)


@dataclass(frozen=True)
class Writer:
    """Writes completions of one problem: `right` is its answer, `wrong` and `other` are not."""

    right: str
    wrong: str
    other: str
    answer_tag: bool = False  # the verifier looks for `<answer>` instead of a box
    think_prefilled: bool = False  # the chat template has opened `<think>`

    def box(self, value: str) -> str:
        """The value where the verifier looks for it."""
        return f"<answer>{value}</answer>" if self.answer_tag else f"\\boxed{{{value}}}"

    @property
    def opening(self) -> str:
        return "" if self.think_prefilled else "<think>\n"

    def solve(self, value: str, tokens: int) -> Completion:
        """Thinks in steps, closes the block, answers with the value: `tokens` tokens in all."""
        return self.fill(self.opening, f"\n</think>\n{self.box(value)}", tokens)

    def fill(self, before: str, after: str, tokens: int, loop: bool = False) -> Completion:
        """`tokens` tokens of text (more if `before` and `after` need more), with steps or a loop between."""
        room = (tokens - 1) * CHARS_A_TOKEN - len(before) - len(after)
        return Completion(before + _body(max(0, room), loop) + after)


@lru_cache(maxsize=256)
def _body(chars: int, loop: bool) -> str:
    if loop:
        return (LOOP * (chars // len(LOOP) + 1))[:chars]
    step = "Step {}: one more part of the problem, and its result. "
    return "".join(step.format(i + 1) for i in range(chars // (len(step) - 1) + 1))[:chars]
