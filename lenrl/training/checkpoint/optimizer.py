"""The options of an optimizer and its schedule, which a checkpoint carries as well as their states."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer, lr_scheduler


@contextmanager
def kept(optimizer: Optimizer, scheduler: Any, keep: bool = True) -> Iterator[None]:
    """Load states inside the block and keep the options of before: learning rate, betas, weight decay.

    A state brings its own options along, so that a changed recipe would change nothing.
    """
    options = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    rates = list(scheduler.base_lrs) if isinstance(scheduler, lr_scheduler.LambdaLR) else None
    yield
    if not keep or rates is None:
        return
    scheduler.base_lrs = rates
    for group, option, rate, curve in zip(
        optimizer.param_groups, options, rates, scheduler.lr_lambdas, strict=True
    ):
        group.update(option)
        group["lr"] = rate * curve(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]  # what is logged
