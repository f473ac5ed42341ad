"""Names of models that can be told apart: the shortest ends of their paths, and a step, a folder or a seed."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lenrl.report.conditions import in_words
from lenrl.report.entries import Entry

Place = tuple[str, ...]


def place_of(model: str) -> Place:
    """Parts of a model's path that name it; a run's `model` goes without saying, a checkpoint is its step.

    >>> place_of("/w/outputs/grpo/plain/model")[-2:], place_of("org/name"), place_of("/w/plain/checkpoint-20")[-1]
    (('grpo', 'plain'), ('org/name',), 'plain, step 20')
    """
    parts = Path(model).parts
    last = parts[-1] if parts else ""
    step = re.fullmatch(r"checkpoint-(\d+)", last)
    if len(parts) > 1 and (last == "model" or step):
        ending = f"{parts[-2]}, step {step[1]}" if step else parts[-2]
        return (*parts[:-2], ending)
    return parts if Path(model).is_absolute() else (model,)


def controlled(place: Place, control: str | None) -> Place:
    """The place of a model under a control at decoding."""
    return (*place[:-1], f"{place[-1]}, {control}") if control else place


def of_trial(sweep: Path, overrides: Sequence[str]) -> Place:
    """The sweep's parts, and the trial's settings under the last words of their keys where these are unambiguous."""
    split = [line.split("=", 1) for line in overrides]
    short = Counter(key.rsplit(".", 1)[-1] for key, *_ in split)
    words = [
        "=".join([last if short[last := key.rsplit(".", 1)[-1]] == 1 else key, *value])
        for key, *value in split
    ]
    return (*sweep.parts, " ".join(words))


def told_apart(places: Sequence[Place]) -> dict[Place, str]:
    """Of each place the shortest end that no other one has.

    >>> list(told_apart([("a", "grpo", "x"), ("a", "drpo", "x"), ("b", "y")]).values())
    ['grpo/x', 'drpo/x', 'y']
    """
    known = list(dict.fromkeys(places))
    names = {}
    for place in known:
        ends = (place[-count:] for count in range(1, len(place) + 1))
        free = (end for end in ends if sum(other[-len(end) :] == end for other in known) == 1)
        names[place] = "/".join(next(free, place))
    return names


def named(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with names by which they can be told apart under each decoding."""
    names = told_apart([entry.place for entry in entries])
    found: list[Entry] = []
    first: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        name = names[entry.place]
        like = first.setdefault((name, entry.decoding), entry)
        if like is not entry:
            name = _free(_noted(name, like, entry), entry.decoding, first)
            first[name, entry.decoding] = entry
        found.append(replace(entry, name=name))
    return found


def _noted(name: str, like: Entry, entry: Entry) -> str:
    """The name with what differs from another entry of that name: one condition, or the folder."""
    unlike = in_words(like.figures["fingerprint"], entry.figures["fingerprint"])
    if len(unlike) == 1 and " instead of " in unlike[0]:
        return f"{name}, {unlike[0].split(' instead of ')[0]}"
    return f"{name} ({entry.folder.name})" if entry.folder else name


def _free(name: str, decoding: str, taken: Mapping[tuple[str, str], Entry]) -> str:
    """The name, or where it is taken with a number."""
    numbers = (name if number == 1 else f"{name} ({number})" for number in range(1, len(taken) + 2))
    return next(candidate for candidate in numbers if (candidate, decoding) not in taken)
