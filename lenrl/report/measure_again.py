"""The command that measures a finished run and its base again, on the same problems, more exactly."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl.tasks import Task

if TYPE_CHECKING:
    from lenrl.config import Recipe

SAMPLES = 8
OTHER_SPLITS = ("train", "dev")  # numbers of problems that don't touch the test split
MODEL_OPTIONS = ("dtype", "revision", "tokenizer", "think_prefilled", "trust_remote_code")
SAMPLED_OPTIONS = ("temperature", "top_p", "top_k")


def eval_command(run_dir: Path, recipe: Recipe, task: Task) -> str:
    """`lenrl eval BASE MODEL task=...`: the run's test problems, decoding, verifier and model options."""
    words = ["lenrl", "eval", recipe.model.path, str(run_dir / "model"), f"task={task.name}"]
    options = task.model_dump(mode="json", exclude_unset=True, exclude={"name", *OTHER_SPLITS})
    words += [_word(f"task.{name}", value) for name, value in options.items()]
    words += [_word(f"verifier.{name}", value) for name, value in sorted(recipe.verifier.items())]
    words.append(f"max_new_tokens={recipe.trainer['max_completion_length']}")
    words += [_word(name, recipe.trainer[name]) for name in SAMPLED_OPTIONS if name in recipe.trainer]
    given = {name: getattr(recipe.model, name) for name in MODEL_OPTIONS}
    words += [_word(name, value) for name, value in given.items() if value not in (None, False)]
    if recipe.seed:
        words.append(f"seed={recipe.seed}")
    return shlex.join([*words, f"samples={SAMPLES}", "--out", str(run_dir / f"eval{SAMPLES}")])


def _word(key: str, value: Any) -> str:
    """A setting in the grammar of overrides."""
    return f"{key}={_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_value(name)}:{_value(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_value, value)) + "]"
    if isinstance(value, str):
        if value.isidentifier() and value not in ("true", "false", "null", "nan", "inf"):
            return value
        # Hydra's grammar takes a backslash as it stands, except before a quote.
        escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)
        return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'
    return json.dumps(value)
