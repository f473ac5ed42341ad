"""A rollout's size in the terms of TRL's trainer: rows of a micro-batch, micro-batches of a step and of a rollout."""

import math
from collections.abc import Mapping
from typing import Any

from lenrl.errors import BadInput

SIZE, ROWS = "generation_batch_size", "per_device_train_batch_size"
ACCUMULATION, STEPS = "gradient_accumulation_steps", "steps_per_generation"
LARGEST = 2**16  # rollouts that are sized here
COMPLETIONS = 128  # a rollout's at most, where a recipe does not say; more where processes and groups need it


def in_trls_terms(
    trainer: Mapping[str, Any], per_rollout: int, processes: int, micro_batch: int | None
) -> dict[str, Any]:
    """The fields of `trainer` with the three of TRL's that a rollout's size decides.

    A micro-batch is the largest that divides a step's rows of a process and is not above `micro_batch`; without one
    the three stay open. Who sets one of the three gets TRL's arithmetic: ROWS alone is a whole step, STEPS follows from
    ACCUMULATION; together with SIZE they must agree.

    Args:
        trainer: of a recipe; values that no run can have are left for its own checks.
        per_rollout: optimizer steps that share out a rollout.
        processes: of the launch.
        micro_batch: completions that a process computes at once, at most.

    Raises:
        BadInput: no whole number of rows is left for each process and step, or SIZE contradicts the others.

    >>> sized = in_trls_terms({}, per_rollout=4, processes=2, micro_batch=10)
    >>> [sized[name] for name in (ROWS, ACCUMULATION, STEPS)]
    [8, 2, 8]
    """
    fields = {name: value for name, value in trainer.items() if value is not None or name not in _ALL}
    given = {name: fields[name] for name in _ALL if name in fields}
    if any(type(value) is not int or value < 1 for value in (*given.values(), per_rollout, processes)):
        return fields
    size, rows = given.get(SIZE), given.get(ROWS)
    accumulation, steps = given.get(ACCUMULATION), given.get(STEPS)
    if accumulation is None and steps is not None:
        accumulation = 1
    if accumulation is None and rows is not None:
        accumulation = (
            1 if size is None else _divided(size, rows * processes * per_rollout, fields, per_rollout)
        )
    if accumulation is not None:
        steps = steps or accumulation * per_rollout
        rows = rows or _divided(size, processes * steps, fields, per_rollout)
    elif micro_batch is not None:
        of_step = _divided(size, processes * per_rollout, fields, per_rollout)
        rows = max(n for n in range(1, min(of_step, micro_batch) + 1) if of_step % n == 0)
        accumulation, steps = of_step // rows, of_step // rows * per_rollout
    else:
        return fields
    assert rows is not None and steps is not None
    if size is not None and rows * processes * steps != size:
        raise BadInput(
            f"trainer.{SIZE}={size} contradicts trainer.{ROWS}={rows} x {processes} processes x "
            f"trainer.{STEPS}={steps} = {rows * processes * steps} completions. Leave out one of them."
        )
    return {**fields, ROWS: rows, ACCUMULATION: accumulation, STEPS: steps}


_ALL = (SIZE, ROWS, ACCUMULATION, STEPS)


def _divided(size: int | None, parts: int, fields: Mapping[str, Any], per_rollout: int) -> int:
    """A part's share of a rollout; a size that the recipe leaves open is one that has whole shares and groups."""
    group = fields.get("num_generations")
    unit = math.lcm(parts, group) if type(group) is int and group > 0 else parts
    if size is None and unit > LARGEST:  # refused later, by the arithmetic of the batch
        return max(COMPLETIONS // parts, 1)
    if size is None:
        return max(COMPLETIONS // unit, 1) * unit // parts
    if size % parts == 0:
        return size // parts
    below = size // unit * unit
    near = " or ".join(str(n) for n in (below, below + unit) if n)
    raise BadInput(
        f"trainer.{SIZE}={size}: completions of a rollout must be a multiple of {parts}, so that processes and "
        f"micro-batches have equal shares (update.per_rollout={per_rollout}). Set it to {near}."
    )
