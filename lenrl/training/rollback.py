"""The state of a run at its last optimizer step, kept while the next one is under way.

A step that a signal interrupts is discarded whole: weights and optimizer have not moved yet, and what has (random
streams, strategies, the data cursor, the buffered rollout) goes back to where it was when the last step ended.
A checkpoint written then is the one that would have been written there.
"""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from lenrl.training.trainer import LenrlTrainer


class StepSnapshot:
    """What an optimizer step changes before it moves the weights, as it was before."""

    def __init__(self, trainer: LenrlTrainer) -> None:
        self.trainer = trainer
        self.step: int | None = None  # None: no step has ended since the process began
        self._state: dict[str, Any] = {}

    def note(self) -> None:
        """An optimizer step has ended."""
        trainer = self.trainer
        self.step = trainer.state.global_step
        self._state = {
            "stateful": {name: copy.deepcopy(part.state_dict()) for name, part in trainer.stateful.items()},
            "method": copy.deepcopy(trainer.method.state_dict()),
            "cursor": trainer.cursor.position,
            "buffer": trainer.buffer,
            "random": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,
        }

    def go_back(self) -> None:
        """Undo what the step that is under way has changed."""
        trainer, state = self.trainer, self._state
        for name, part in trainer.stateful.items():
            part.load_state_dict(state["stateful"][name])
        trainer.method.load_state_dict(state["method"])
        trainer.cursor.position = state["cursor"]
        trainer.buffer = state["buffer"]
        python, numpy, cpu = state["random"]
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if state["cuda"] is not None:
            torch.cuda.set_rng_state_all(state["cuda"])
