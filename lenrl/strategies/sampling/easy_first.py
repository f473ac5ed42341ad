"""Easy prompts before hard ones."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from lenrl.errors import BadInput
from lenrl.strategies import warnings
from lenrl.strategies.base import RunInfo
from lenrl.strategies.prompt_rates import PromptRates

UNKNOWN = 0.5  # stands for the pass rate of a prompt that has none yet


class EasyFirst(PromptRates):
    """A pass over the data goes from easy to hard prompts.

    Easy is what the policy solved most often so far, by the running pass rates when the pass begins; with `column`, a
    low value of that field, a difficulty, and pass rates are not looked at. Ties are in the pass's shuffled order.

    Source: curriculum sampling, Kimi k1.5, arXiv 2501.12599, section 2.3.4; the running rates are ours.

    Degenerate cases: a prompt without a rate counts as 0.5, so a first pass without `column` is in the shuffled order.

    >>> rule = EasyFirst(); rule.load_state_dict({"rates": {"a": 0.1, "b": 0.9}})
    >>> rule.choose(["a", "new", "b"], [{}, {}, {}], 1)
    ['b', 'new', 'a']
    """

    name = "easy_first"

    passes: int = Field(default=0, ge=0)  # in that order, later ones are shuffled; 0: all of them

    def choose(self, prompt_ids: Sequence[str], columns: Sequence[Mapping[str, Any]], turn: int) -> list[str]:
        if self.passes and turn >= self.passes:
            return list(prompt_ids)
        difficulty = {
            name: self._difficulty(name, row) for name, row in zip(prompt_ids, columns, strict=True)
        }
        return sorted(prompt_ids, key=difficulty.__getitem__)

    def _difficulty(self, prompt: str, row: Mapping[str, Any]) -> float:
        if self.column is None:
            return -self._rates.get(prompt, UNKNOWN)
        value = row[self.column]
        if not isinstance(value, int | float) or math.isnan(value):
            raise BadInput(
                f"field {self.column!r} of prompt {prompt!r} is {value!r:.60}, must be a number, low for easy prompts"
            )
        return value

    def warnings(self, run_info: RunInfo) -> list[str]:
        return [] if self.column else warnings.inert("sampling 'easy_first'", "a pass rate", run_info)
