"""Differences of two recipes in what shapes the result."""

import json
import re
from collections.abc import Mapping
from typing import Any

DIFF_LINES = 20  # shown at most
# Of the trainer: where a vLLM server is found. It is another machine each time a job is queued again.
ADDRESSES = (
    "vllm_server_base_url",
    "vllm_server_host",
    "vllm_server_port",
    "vllm_server_timeout",
    "vllm_group_port",
)
# Options that shape no result. They are part of a recipe's digest, as in runs that are there already.
FREE = (
    "guard.hang_timeout_s",
    "guard.truncated_share",
    "guard.truncated_rollouts",
    "trainer.save_total_limit",
    "update.memory_gib",
    "verifier.workers",
)
OPTIONAL = ("reward_functions", "plugins", "evals")  # no part of a recipe's identity where they are empty


def difference(former: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Lines `- key: old` and `+ key: new`; empty: nothing differs.

    Args:
        former: a recipe as it was written down; sections that `now` does not have are left out.
        now: `Recipe.identity()` of the other one.

    >>> difference({"seed": 0, "name": "a"}, {"seed": 1})
    '- seed: 0\\n+ seed: 1'
    """
    former, now = _shaping(former), _shaping(now)
    new = _flat(now)
    known = {*now, *(key for key in OPTIONAL if former.get(key))}
    old = {key: value for key, value in _flat(former).items() if key.split(".")[0] in known}
    watching = [key for key in old if re.fullmatch(r"guard\.\w+\.\w+", key)]  # rules of guards
    watching += [key for key in old if key.startswith("guard.") and old[key] is None]
    for key in (*watching, *(f"trainer.{name}" for name in ADDRESSES)):
        old.pop(key, None)
    if old.get("model.chat_template", "") is None:
        del old["model.chat_template"]
    lines = []
    for key in sorted({*new, *old}):
        if key not in new or key not in old or new[key] != old[key]:
            lines += [f"- {key}: {json.dumps(old[key])}"] if key in old else []
            lines += [f"+ {key}: {json.dumps(new[key])}"] if key in new else []
    more = [f"... and {len(lines) - DIFF_LINES} lines more"] if len(lines) > DIFF_LINES else []
    return "\n".join(lines[:DIFF_LINES] + more)


def _shaping(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without the options of FREE."""
    return {
        key: {name: option for name, option in value.items() if f"{key}.{name}" not in FREE}
        if isinstance(value, Mapping)
        else value
        for key, value in recipe.items()
    }


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        parts = [_flat(inner, f"{key}.{name}" if key else str(name)) for name, inner in value.items()]
        return {k: v for part in parts for k, v in part.items()}
    return {key: value}
