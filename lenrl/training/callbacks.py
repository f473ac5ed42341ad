"""Callbacks where epochs and optimizer steps begin and end."""

from collections.abc import Callable
from dataclasses import dataclass

from transformers import TrainerCallback


@dataclass(eq=False)
class StepCallback(TrainerCallback):
    """Calls one function each where an epoch or an optimizer step begins, and before and after weights move."""

    epoch_begins: Callable[[int], None]  # with the epoch, counted from 0
    step_begins: Callable[[], None]  # before an optimizer step's first micro-batch
    update_begins: Callable[[], None]  # after its last one, before weights move
    step_ended: Callable[[int], None]  # with the number of completed optimizer steps

    def on_epoch_begin(self, args, state, control, **_) -> None:
        self.epoch_begins(int(state.epoch or 0))

    def on_step_begin(self, args, state, control, **_) -> None:
        self.step_begins()

    def on_pre_optimizer_step(self, args, state, control, **_) -> None:
        self.update_begins()

    def on_step_end(self, args, state, control, **_) -> None:
        self.step_ended(state.global_step)
