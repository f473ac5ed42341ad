"""TRL's own loss."""

from torch import Tensor

from lenrl.strategies.base import MicroBatch, Objective, StepTotals


class Trl(Objective):
    """TRL's own loss, chosen by `trainer.loss_type`. A marker: it is never called.

    >>> Trl().computes_loss
    False
    """

    name = "trl"
    replaces_loss = False

    def __call__(self, batch: MicroBatch, totals: StepTotals) -> tuple[Tensor, dict[str, float]]:
        raise NotImplementedError("objective 'trl' leaves the loss to TRL")
