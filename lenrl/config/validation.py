"""Checks on a composed recipe, and readable words for what is wrong."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from lenrl.config.difference import OPTIONAL
from lenrl.config.recipe import Recipe
from lenrl.errors import BadInput, explain, shown
from lenrl.redact import redacted

_MISSING = (
    "A recipe needs every section: begin its file with `defaults: [base, _self_]`, which fills in the others"
)
# Not every `..._token`: a tokenizer has a pad_token, a reward may count by the long_token.
_SECRET_KEY = re.compile(
    r"^token$|(^|_)(api_?key|(access|secret)_key|passw(or)?d|secret|(hub|hf|api|access|auth|bearer)_token)$",
    re.IGNORECASE,
)


def checked(plain: Mapping[str, Any]) -> Recipe:
    """Validate plain values.

    Raises:
        BadInput: every fault on a line of its own: key, value found, rule, nearest key.
    """
    launch = section if isinstance(section := plain.get("launch"), Mapping) else {}
    for key in ("num_processes", "num_machines"):
        if type(count := launch.get(key, 1)) is not int or count < 1:
            raise BadInput(f"launch.{key}={shown(count)}: a run needs a whole number of at least 1.")
    try:
        return Recipe.model_validate({**dict.fromkeys(OPTIONAL, {}), **plain})
    except ValidationError as fault:
        lines = explain(fault, Recipe, missing=_MISSING).splitlines()
        raise BadInput("\n".join(_placed(line, plain) for line in lines)) from None


def _placed(line: str, plain: Mapping[str, Any]) -> str:
    """A message of an unknown key, with the section that has a key of this name."""
    key, _, rest = line.partition("=")
    if key in Recipe.model_fields or "there is no such key" not in rest or "." in key:
        return line
    sections = [name for name, section in plain.items() if isinstance(section, Mapping) and key in section]
    near = " or ".join(f"{section}.{key}" for section in sections)
    return f"{line.split(' Did you mean', maxsplit=1)[0]} Did you mean {near}?" if near else line


def refuse_resolvers(raw: Any) -> None:
    """Only `${section.key}`: `${now:}` differs on each process, `${oc.env:}` would write secrets to files.

    Raises:
        BadInput: an interpolation with a resolver, or with another one inside, which may spell a resolver's name.
    """
    for key, value in _leaves(raw):
        for name in _interpolations(value) if isinstance(value, str) else ():
            if ":" in name or "${" in name:
                raise BadInput(
                    f"{key}={shown(value)}: an interpolation names a key, as ${{trainer.max_steps}}; the "
                    f"resolver {shown(name.split(':')[0].strip(), 60)} could give another value on each process. Give "
                    "the value itself."
                )


def _interpolations(text: str) -> Iterator[str]:
    """Content of each `${...}`, up to the brace that closes it; one that is inside another is in that one's content."""
    start = text.find("${")
    while start >= 0:
        depth, end = 0, start + 1
        for end in range(start + 1, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if not depth:
                break
        yield text[start + 2 : end if not depth else None]
        start = text.find("${", end)


def refuse_secrets(plain: Any) -> None:
    """A recipe is written to files and logs: no passwords in it."""
    for key, value in _leaves(plain):
        named = _SECRET_KEY.search(key.rsplit(".", 1)[-1]) and value not in (None, "", True, False)
        if named or (isinstance(value, str) and redacted(value) != value):
            raise BadInput(
                f"{key} holds a secret (not shown); recipes are written to files and logs. Remove it, put "
                "it in the environment: HF_TOKEN for the hub, WANDB_API_KEY for wandb."
            )


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}.{index}")
    else:
        yield key, value
