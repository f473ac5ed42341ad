"""Words that a budget adds to a prompt, and draws that are functions of their key."""

import hashlib
from typing import Any


def fill(hint: bool | str, default: str, **values: Any) -> str | None:
    """The hint's text: `True` is the rule's own wording, `False` or "" none, a string a `{name}` template.

    Only the names given are replaced; nothing of the template is evaluated.
    """
    text = default if hint is True else hint or None
    if text is None:
        return None
    for name, value in values.items():
        text = text.replace("{" + name + "}", number(value))
    return text


def number(value: Any) -> str:
    """Tokens as a prompt should state them.

    >>> number(179.0), number(179.2), number(2.0**20)
    ('179', '179.2', '1048576')
    """
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else f"{value:g}"


def draw(below: int, *key: object) -> int:
    """An integer in [0, below), the same for the same key on every process and after every resume."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % below
