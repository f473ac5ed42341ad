"""What happens at the borders of epochs and optimizer steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class Borders(TrainerCallback):
    """Says where an epoch and an optimizer step begin and end.

    Args:
        epoch_begins: takes the epoch, counted from 0.
        step_begins: before an optimizer step's first micro-batch.
        update_begins: after its last one, before weights move.
        step_ended: takes the number of completed optimizer steps.
    """

    def __init__(
        self,
        epoch_begins: Callable[[int], None],
        step_begins: Callable[[], None],
        update_begins: Callable[[], None],
        step_ended: Callable[[int], None],
    ) -> None:
        self.epoch_begins = epoch_begins
        self.step_begins = step_begins
        self.update_begins = update_begins
        self.step_ended = step_ended

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.epoch_begins(int(state.epoch or 0))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step_begins()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.update_begins()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.step_ended(state.global_step)
