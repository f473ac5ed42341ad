"""Completions under a control: by shaped logits where the engine can, else in stages, all rows side by side."""

from collections.abc import Mapping, Sequence
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
    free: Sequence[Completion],
    prompt_ids: Sequence[Sequence[int]],
    decoding: Decoding,
    batches: Batches,
) -> list[Completion]:
    """One completion a prompt, see `Engine.sample`; a row counts as done when its last stage is.

    Args:
        control: not `none`.
        free: the rows without a control, drawn by the same noise.
        prompt_ids: with the control's words.

    Raises:
        BadInput: the engine can't do what the control needs.
    """
    if control.whole:
        with control.inside(engine):
            return engine.sample(prompt_ids, decoding, batches)
    if engine.shapes_logits and (shaping := control.logits(thinking)) is not None:
        return engine.sample(prompt_ids, decoding, replace(batches, control=shaping))
    keys = noise_keys(prompt_ids, decoding.seed)
    by_row = dict(batches.done)
    size = batches.size or ROWS
    for start in range(0, len(prompt_ids), size):
        numbers = range(start, min(start + size, len(prompt_ids)))
        if all(number in by_row for number in numbers):
            continue
        rows = {n: control.stages(thinking, ControlledRow(free[n], decoding.max_new_tokens)) for n in numbers}
        some = _in_stages(rows, prompt_ids, keys, engine, decoding, batches.size)
        by_row |= some
        batches.ended(some)
        batches.keep(some)
    return [by_row[number] for number in range(len(prompt_ids))]


def _in_stages(
    rows: Mapping[int, Stages],
    prompt_ids: Sequence[Sequence[int]],
    keys: Sequence[int],
    engine: Engine,
    decoding: Decoding,
    size: int | None,
) -> dict[int, Completion]:
    """Every row's next stage together, until all have returned."""
    done: dict[int, Completion] = {}
    sent: dict[int, Completion | None] = dict.fromkeys(rows)
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
        going = {
            number: replace(stage, most=rooms[number], prompt=prompt_ids[number], key=keys[number])
            for number, stage in asked.items()
            if number not in sent
        }
        sent |= dict(zip(going, engine.extend(list(going.values()), decoding, size), strict=True))
    return {number: done[number] for number in rows}
