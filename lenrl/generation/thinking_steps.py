"""Steps of a completion's thinking, by the texts of its tokens."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from transformers import PreTrainedTokenizerBase

CLOSE = "</think>"
OUTSIDE = -1  # of the thinking: the answer, the tag, the end


@dataclass(frozen=True)
class ThinkingSteps:
    """Numbers the steps of completions; each token's text is decoded once."""

    tokenizer: PreTrainedTokenizerBase
    end: str  # ends a step
    _texts: dict[int, str] = field(default_factory=dict)

    def of(self, ids: Sequence[int]) -> list[int]:
        """For each token of a completion the number of its step; see `step_numbers`."""
        for token in set(ids) - self._texts.keys():
            self._texts[token] = str(self.tokenizer.decode([token]))
        return step_numbers([self._texts[token] for token in ids], self.end)


def step_numbers(texts: Sequence[str], end: str) -> list[int]:
    """0, 1, ... for the tokens of the thinking, which have these texts, and -1 outside.

    A step ends with, and includes, a token in whose text an `end` is complete. The thinking goes up to the first
    `</think>`; where there is none, all but the last token belong to it.

    >>> step_numbers(["a", "b\\n\\n", "c", "d", "e\\n\\n", "f", "g\\n\\n", "h", "</think>", "x", "</s>"], "\\n\\n")
    [0, 0, 1, 1, 1, 2, 2, 3, -1, -1, -1]
    >>> step_numbers(["a", "\\n", "\\n", "b", "</s>"], "\\n\\n"), step_numbers([], "\\n")
    ([0, 0, 0, 1, -1], [])
    """
    if not texts:
        return []
    whole, after = "".join(texts), list(accumulate(map(len, texts)))
    close = whole.find(CLOSE)
    thinking = len(texts) - 1 if close < 0 else bisect_left([0, *after[:-1]], close)
    last = {bisect_left(after, match.end()) for match in re.finditer(re.escape(end), whole)}
    numbers = accumulate([0, *(int(place in last) for place in range(len(texts) - 1))])
    return [number if place < thinking else OUTSIDE for place, number in enumerate(numbers)]
