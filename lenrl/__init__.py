"""lenrl: reinforcement learning that makes reasoning models think less and stay right.

    from lenrl import LenrlTrainer        # TRL's GRPOTrainer with a method
    lenrl.score("grpo_lambda", rows)      # rewards and advantages, without a model

The names below are loaded when they are first used; docs/python.md describes them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lenrl.api.from_trl import LenrlTrainer
    from lenrl.api.rewards import verdict
    from lenrl.api.runs import sweep, train
    from lenrl.api.verbs import compare, evaluate, score
    from lenrl.config.compose import compose

__version__ = "0.1.0"

_PLACES = {
    "LenrlTrainer": "lenrl.api.from_trl",
    "compare": "lenrl.api.verbs",
    "compose": "lenrl.config.compose",
    "evaluate": "lenrl.api.verbs",
    "score": "lenrl.api.verbs",
    "sweep": "lenrl.api.runs",
    "train": "lenrl.api.runs",
    "verdict": "lenrl.api.rewards",
}

__all__ = ["LenrlTrainer", "compare", "compose", "evaluate", "score", "sweep", "train", "verdict"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'lenrl' has no attribute {name!r}; there are {', '.join(__all__)}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
