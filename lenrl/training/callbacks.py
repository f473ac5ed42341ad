"""What happens at the borders of epochs and optimizer steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from lenrl.training.trainer import LenrlTrainer


class Borders(TrainerCallback):
    """Tells the trainer where an epoch and an optimizer step begin, and leaves empty steps out.

    A step without any informative group counts, but moves neither weights nor optimizer state: a zero gradient
    would still move Adam by its momentum, parameters without a gradient are left alone.
    """

    def __init__(self, trainer: LenrlTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # accelerate does not reach a sampler behind `skip_first_batches` where there are several processes
        if self.trainer.order is not None:
            self.trainer.order.set_epoch(int(state.epoch or 0))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.stop.agree()
        self.trainer.begin_step()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.skip_update:
            self.trainer.model.zero_grad(set_to_none=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.border.note()
