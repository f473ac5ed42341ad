"""Completions under a control: by shaped logits where the engine can, else in stages, all rows side by side."""

from collections.abc import Sequence
from dataclasses import replace

from lenrl.generation.base import Batches, Completion, Decoding, Engine
from lenrl.generation.controls.base import Control, ControlledRow, Stages
from lenrl.generation.controls.thinking import Thinking
from lenrl.generation.noise import noise_keys

ROWS = 512  # that go through their stages together


def controlled(
    control: Control,
    thinking: Thinking,
    engine: Engine,
    prompt_ids: Sequence[Sequence[int]],
    decoding: Decoding,
    free: Sequence[Completion],
    batches: Batches,
) -> list[Completion]:
    """One completion a prompt, see `Engine.sample`; a row counts as done when its last stage is.

    Args:
        control: not `none`.
        thinking: of the engine's model.
        engine: the model.
        prompt_ids: with the control's words.
        decoding: how to draw.
        free: the rows without a control, drawn by the same noise.
        batches: the order of the work.

    Raises:
        BadInput: the engine can't do what the control needs.
    """
    if control.in_prompt:
        return engine.sample(prompt_ids, decoding, batches)
    if engine.shapes_logits and (shaping := control.logits(thinking)) is not None:
        return engine.sample_shaped(prompt_ids, decoding, batches, shaping)
    keys = noise_keys(prompt_ids, decoding.seed)
    by_row = dict(batches.done)
    size = batches.size or ROWS
    for start in range(0, len(prompt_ids), size):
        numbers = range(start, min(start + size, len(prompt_ids)))
        if all(number in by_row for number in numbers):
            continue
        rows = [ControlledRow(free[number], decoding.max_new_tokens) for number in numbers]
        found = _in_stages(
            [control.stages(thinking, row) for row in rows],
            [prompt_ids[number] for number in numbers],
            [keys[number] for number in numbers],
            engine,
            decoding,
            batches.size,
        )
        some = dict(zip(numbers, found, strict=True))
        by_row |= some
        batches.ended(some)
        batches.keep(some)
    return [by_row[number] for number in range(len(prompt_ids))]


def _in_stages(
    rows: Sequence[Stages],
    prompt_ids: Sequence[Sequence[int]],
    keys: Sequence[int],
    engine: Engine,
    decoding: Decoding,
    size: int | None,
) -> list[Completion]:
    """Every row's next stage together, until all have returned."""
    done: dict[int, Completion] = {}
    sent: dict[int, Completion | None] = dict.fromkeys(range(len(rows)))
    while sent:
        asked = {}
        for number, given in sent.items():
            try:
                asked[number] = rows[number].send(given)  # pyright: ignore[reportArgumentType]
            except StopIteration as end:
                done[number] = end.value
        context = engine.info.context
        rooms = {
            number: min(stage.most, (context or stage.most + used) - used)
            for number, stage in asked.items()
            for used in [len(prompt_ids[number]) + len(stage.ids)]
        }
        # No room left: the completion is cut there.
        sent = {number: Completion([], True) for number, room in rooms.items() if room < 1}
        going = [number for number in asked if number not in sent]
        found = engine.extend(
            [prompt_ids[number] for number in going],
            [keys[number] for number in going],
            [replace(asked[number], most=rooms[number]) for number in going],
            decoding,
            size,
        )
        sent |= dict(zip(going, found, strict=True))
    return [done[number] for number in range(len(rows))]
