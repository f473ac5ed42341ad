"""Everything apart from its model that moves an evaluation's figures, as short hashes."""

import json
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from lenrl import __version__, files
from lenrl.generation.base import Decoding, Engine
from lenrl.generation.pretrained import TokenizerInfo
from lenrl.strategies.functions import RewardFunction
from lenrl.tasks import GymTask, Problem, Task, digest
from lenrl.verify.settings import VerifierSettings

PACKAGES = ("torch", "transformers", "tokenizers", "math-verify", "sympy")
_hash = partial(files.digest, size=6)
SHOWN = 60  # characters of a value in a difference


def fingerprint(
    engine: Engine,
    task: Task,
    *,
    split: str,
    problems: Sequence[Problem],
    prompt_ids: Sequence[Sequence[int]],
    decoding: Decoding,
    verifier: VerifierSettings,
    judge: RewardFunction | None = None,
    control: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Everything apart from the weights that moves the figures, by name, and a hash of it all under `hash`.

    The batch size is not in it: it changes a draw only where rounding does.
    """
    info = engine.info
    parts: dict[str, object] = {
        "task": digest(task, problems),
        "split": split,
        "prompts": len(problems),
        "prompt_tokens": _hash(list(map(list, prompt_ids))),
        "decoding": {"name": decoding.name, **decoding.model_dump()},
        "tokenizer": _tokenizer(info),
        "chat_template": _hash(getattr(info.tokenizer, "chat_template", None) or ""),
        "eos_ids": list(info.eos_ids),
        "think_prefilled": info.think_prefilled,
        "verifier": verifier.model_dump(
            mode="json", exclude={"workers": True, "parts": {"__all__": {"workers"}}}
        ),
        **({} if judge is None else {"judge": judge.name}),
        **({} if control is None else {"control": control}),
        **engine.identity(),
        "versions": _versions(task),
    }
    return parts | {"hash": _hash(parts)}


def differences(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Differences of two fingerprints, e.g. `decoding.samples 4 against 8`; empty if figures are comparable."""
    return [f"{key} {left} against {right}" for key, left, right in differing(one, other)]


def differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """Dotted keys in which two fingerprints differ, each with both values, shortened."""
    left, right = dict(_flat(one)), dict(_flat(other))
    return [
        (key, _short(left.get(key)), _short(right.get(key)))
        for key in dict.fromkeys([*left, *right])
        if key != "hash" and left.get(key) != right.get(key)
    ]


def unlike(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Differences of two fingerprints apart from a control's, whose words stand in the prompts."""
    controlled = "control" in one or "control" in other
    aside = ("control", "prompt_tokens") if controlled else ()
    return differences(*({k: v for k, v in parts.items() if k not in aside} for parts in (one, other)))


def _flat(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    return [
        leaf
        for key, value in values.items()
        for leaf in (
            _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
        )
    ]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _tokenizer(info: TokenizerInfo) -> str:
    backend = getattr(info.tokenizer, "backend_tokenizer", None)
    return _hash(backend.to_str() if backend is not None else sorted(info.tokenizer.get_vocab().items()))


def _versions(task: Task) -> dict[str, str | None]:
    names = [
        *PACKAGES,
        *(["reasoning-gym"] if any(isinstance(source, GymTask) for source in task.sources) else []),
    ]
    return {
        "lenrl": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in names},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
