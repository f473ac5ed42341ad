"""A number of tokens for each prompt, which a reward keeps from visit to visit."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import PrivateAttr
from torch import Tensor

from lenrl.rollouts import Rollouts
from lenrl.strategies.base import Reward
from lenrl.strategies.states import number


class PromptMemory(Reward):
    """A reward that remembers tokens of each prompt; a subclass says which, in `observe`.

    State: these numbers by prompt id, named `remembered`; none where the options ask for no memory.
    """

    remembered: ClassVar[str]

    _tokens: dict[str, float] = PrivateAttr(default_factory=dict)

    @property
    def remembers(self) -> bool:
        """The options ask for a memory."""
        return True

    @property
    def needs_equal_groups(self) -> bool:
        """No: its state is of each prompt by itself."""
        return False

    def recalled(self, rollouts: Rollouts) -> Tensor:
        """(P, 1): what is remembered of each prompt, tokens; NaN where that is nothing yet."""
        known = [self._tokens.get(prompt, float("nan")) for prompt in rollouts.prompt_ids]
        return torch.tensor(known, dtype=torch.float64).reshape(-1, 1)

    def state_dict(self) -> dict[str, Any]:
        return {self.remembered: dict(self._tokens)} if self.remembers else {}

    def snapshot(self) -> dict[str, Any]:
        return self.state_dict()  # a copy already

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state) - {self.remembered}:
            raise ValueError(f"fields {sorted(state)}, expected {self.remembered!r}")
        tokens = dict(state.get(self.remembered, {}))
        for prompt, value in tokens.items():
            number(value, f"{self.remembered} of prompt {prompt!r:.60}")
        self._tokens = tokens
