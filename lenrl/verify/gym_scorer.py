"""Scoring by reasoning-gym, in a worker. The gold column is JSON that names an entry of a data set:

    {"dataset": "leg_counting", "seed": 7, "index": 3, "config": {...}}
    {"dataset": "leg_counting", "config": {...}, "entry": {...}}

Where the entry had a tuple, JSON has `{"__tuple__": [...]}`.
Some of its scorers evaluate the answer as Python: there it must be bare arithmetic or a bare literal.
"""

import inspect
import json
import re
from functools import lru_cache
from typing import Any

_STRING = re.compile(r"'[^'\"\\\n]*'|\"[^'\"\\\n]*\"")
_PLAIN = re.compile(r"[A-Za-z0-9_\s+\-*/().,^\[\]{}:]*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_CALLABLE = frozenset("sin cos tan exp log ln sqrt asin acos atan sinh cosh tanh Abs".split())  # noqa: SIM905
_EVALUATES = re.compile(r"\b(?:eval|exec|parse_expr|sympify)\(|\bS\(")
_EVALUATES_ANSWER = re.compile(
    r"\b(?:eval|exec|parse_expr|sympify|S)\(\s*(?:\w*answer|user\w*|response|pred\w*|text)\b"
)


def score(answer: str | None, gold: str) -> tuple[bool | None, bool]:
    """(correct, formatted): correct iff the data set's own scorer gives 1; None if the entry is unknown."""
    named = _entry(gold)
    if named is None:
        return None, False
    if answer is None:
        return False, False
    dataset, entry = named
    if _evaluates(type(dataset)) and not harmless(answer):
        return answer.strip() == str(entry["answer"]).strip(), True
    try:
        return dataset.score_answer(answer, entry) >= 1.0, True
    except (ValueError, SyntaxError):  # of a scorer that parses without care: wrong, not unknown
        return False, False


def known(gold: str) -> bool:
    """The gold column names an entry that exists."""
    return _entry(gold) is not None


def harmless(answer: str) -> bool:
    """Evaluating the text as Python can only do arithmetic or build a literal.

    Words are single letters or elementary functions, only functions are called, nothing is looked up in an
    object, and text with quotes holds no words at all (a string given to sympy would be evaluated in turn).
    """
    bare = _STRING.sub("", answer)
    if (
        _PLAIN.fullmatch(bare) is None
        or "__" in answer
        or re.search(r"\.\s*[A-Za-z_]|[A-Za-z_)\]}]\s*\.", bare)
    ):
        return False
    names = _WORD.findall(bare)
    if bare != answer:
        return not names
    called = set(re.findall(r"([A-Za-z_]\w*)\s*\(", bare))
    if re.search(r"[)\]}]\s*[(\[{]|\d\s*[(\[{]", bare) or re.search(r"\*\*[^*]*\*\*|\d{7}", bare):
        return False
    return called <= _CALLABLE and all(word in _CALLABLE or len(word) == 1 for word in names)


@lru_cache(maxsize=256)
def _entry(gold: str) -> tuple[Any, dict[str, Any]] | None:
    try:
        spec = json.loads(gold, object_hook=_tuples_back)
        name = spec["dataset"]
        if "entry" in spec:
            return _dataset(name, json.dumps(spec.get("config", {}), sort_keys=True)), spec["entry"]
        config = {**spec.get("config", {}), "seed": spec["seed"]}
        index = int(spec["index"])
        dataset = _dataset(name, json.dumps(config, sort_keys=True))
        if index >= len(dataset):
            dataset = _dataset(name, json.dumps({**config, "size": index + 1}, sort_keys=True))
        return dataset, dataset[index]
    except (ValueError, KeyError, TypeError, IndexError, AssertionError):
        return None


def _tuples_back(values: dict[str, Any]) -> Any:
    return tuple(values["__tuple__"]) if values.keys() == {"__tuple__"} else values


@lru_cache(maxsize=64)
def _dataset(name: str, config: str) -> Any:
    import reasoning_gym  # pyright: ignore[reportMissingImports]

    return reasoning_gym.create_dataset(name, **json.loads(config))


@lru_cache(maxsize=256)
def _evaluates(dataset: type) -> bool:
    """The scorer evaluates text as Python; one whose source cannot be read counts as if it did."""
    try:
        scorer = inspect.getsource(dataset.score_answer)  # type: ignore[attr-defined]
        module = inspect.getsource(inspect.getmodule(dataset) or dataset)
    except (OSError, TypeError):
        return True
    own_parser = "def parse_expr(" in module
    return not own_parser and bool(_EVALUATES.search(scorer) or _EVALUATES_ANSWER.search(module))
