"""Controls at decoding: training-free ways to think shorter, each a file of its own, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from lenrl.errors import BadInput, did_you_mean, validated
from lenrl.generation.controls.base import SHARED, Control, ControlOptions
from lenrl.generation.controls.exits import Exit
from lenrl.generation.controls.force import Force, Wait
from lenrl.generation.controls.run import controlled
from lenrl.generation.controls.steer import Steer
from lenrl.generation.controls.stop import Brake, Stop
from lenrl.generation.controls.thinking import Thinking
from lenrl.generation.controls.words import Concise, Draft, NoThink, Words

__all__ = ["CONTROLS", "NONE", "Control", "ControlOptions", "Thinking", "controlled", "read"]

NONE = "none"  # the model as it is
CONTROLS: dict[str, type[Control]] = {
    "concise": Concise,
    "draft": Draft,
    "words": Words,
    "nothink": NoThink,
    "force": Force,
    "wait": Wait,
    "stop": Stop,
    "brake": Brake,
    "exit": Exit,
    "steer": Steer,
}


def read(labels: Sequence[str], given: Mapping[str, Any]) -> list[Control]:
    """Controls as `NAME` or `NAME@DIAL`, with the options that are given; `none` is no control.

    Raises:
        BadInput: an unknown name, a dial that is missing, not asked for or out of bounds, or an option that no control
            here knows.
    """
    options = validated(ControlOptions, given, "control")
    controls = [_one(label, options) for label in dict.fromkeys(labels) if label != NONE]
    known = SHARED.union(*(control.knows for control in controls))
    for name in (name for name in given if name not in known):
        knowing = [label for label, control in CONTROLS.items() if name in control.knows]
        whose = f"{', '.join(knowing)} would read it" if knowing else "no control is asked for"
        raise BadInput(f"control.{name} does nothing here: {whose}; leave it out, or add such a control")
    return controls


def _one(label: str, options: ControlOptions) -> Control:
    name, at, number = label.partition("@")
    if name not in CONTROLS:
        near = did_you_mean(name, [NONE, *CONTROLS]) or f" There are {', '.join([NONE, *CONTROLS])}."
        raise BadInput(f"controls: there is no {name!r}.{near}")
    kind = CONTROLS[name]
    if kind.dial_of is None:
        if at:
            raise BadInput(f"controls: {name} has no dial; write {name}")
        return kind(label, float("nan"), options)
    try:
        return kind(label, kind.dial_of.read(number), options)
    except ValueError:
        raise BadInput(f"controls: {label!r}; write {name}@DIAL, the dial being {kind.dial_of}") from None
