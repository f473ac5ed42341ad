"""Scoring by reasoning-gym, in a worker. The gold column is JSON that names an entry of a data set:

    {"dataset": "leg_counting", "seed": 7, "index": 3, "config": {...}}
    {"dataset": "leg_counting", "config": {...}, "entry": {...}}

Where the entry had a tuple, JSON has `{"__tuple__": [...]}`.
Neither answers nor golds are evaluated: generators whose scorer would do that have one of ours (`gym_own`), and of
the others the source is looked through (`gym_scan`).
"""

import contextlib
import io
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lenrl.verify import no_execution
from lenrl.verify.gym_own import OWN
from lenrl.verify.gym_scan import evaluators
from lenrl.verify.limits import TooBig

# In place of the answer of entries that have none: any valid solution is right
NO_ANSWER = "no answer at all"
# In a generator's options: nothing that could call or index
_CONFIG_TEXT = re.compile(r"[\w\s.,:;+*/%<>=!&|^~-]*")


def score(answer: str | None, gold: str) -> tuple[bool | None, bool]:
    """(correct, formatted): correct iff the data set's scorer gives 1; None if the gold column is no usable entry.

    Raises:
        MemoryError, RecursionError, TooBig: of the answer; whatever else a scorer raises makes the answer wrong.
    """
    named = _entry(gold)
    if named is None or not known(gold):
        return None, False
    if answer is None:
        return False, False
    try:
        return _right(answer, *named), True
    except (MemoryError, RecursionError, TooBig):
        raise
    except Exception:
        return False, False


@lru_cache(maxsize=256)
def known(gold: str) -> bool:
    """The gold column names an entry that exists, and whose own answer is right."""
    named = _entry(gold)
    if named is None:
        return False
    name, dataset, entry = named
    if evaluates(name, type(dataset)):
        return False
    try:
        own = entry["answer"]
        right = _right(NO_ANSWER if own is None else str(own), name, dataset, entry)
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return False
    return right or own is None


def evaluates(name: str, dataset: type) -> tuple[str, ...]:
    """Reasons why a generator's answers can't be judged: its scorer may run text, and there is none of ours."""
    return () if name in OWN else evaluators(dataset)


def _right(answer: str, name: str, dataset: Any, entry: Mapping[str, Any]) -> bool:
    if name in OWN:
        return bool(OWN[name](answer, entry))
    with _quietly():  # some print moves, which a model wrote
        return bool(dataset.score_answer(answer, entry) >= 1.0)


def _quietly() -> contextlib.AbstractContextManager[object]:
    return contextlib.redirect_stdout(io.StringIO())


@lru_cache(maxsize=256)
def _entry(gold: str) -> tuple[str, Any, dict[str, Any]] | None:
    try:
        spec = json.loads(gold, object_hook=_tuples_back)
        name = spec["dataset"]
        if "entry" in spec:
            return name, _dataset(name, json.dumps(spec.get("config", {}), sort_keys=True)), spec["entry"]
        config = {**spec.get("config", {}), "seed": spec["seed"]}
        index = int(spec["index"])
        dataset = _dataset(name, json.dumps(config, sort_keys=True))
        if index >= len(dataset):
            dataset = _dataset(name, json.dumps({**config, "size": index + 1}, sort_keys=True))
        with _quietly(), no_execution.of_no_claim():  # some run programs of their own to know the answer
            return name, dataset, dataset[index]
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return None


def _tuples_back(values: dict[str, Any]) -> Any:
    return tuple(values["__tuple__"]) if values.keys() == {"__tuple__"} else values


@lru_cache(maxsize=64)
def _dataset(name: str, config: str) -> Any:
    if not _harmless(json.loads(config)):
        raise ValueError(
            "an option of the generator holds what could be a call: some put it into an expression"
        )
    import reasoning_gym  # pyright: ignore[reportMissingImports]

    return reasoning_gym.create_dataset(name, **json.loads(config))


def _harmless(options: Any) -> bool:
    """No text in a generator's options could call or index anything: some generators evaluate what they build of it."""
    if isinstance(options, Mapping):
        return all(map(_harmless, options.values()))
    if isinstance(options, list):
        return all(map(_harmless, options))
    return not isinstance(options, str) or _CONFIG_TEXT.fullmatch(options) is not None
