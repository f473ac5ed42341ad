"""Prompts as data sets hold them: a text, or the messages of a conversation that ends with the user's."""

from collections.abc import Mapping, Sequence
from typing import Any

from lenrl.errors import shown

Context = tuple[tuple[str, str], ...]  # messages before the last one: (role, text)
ROLES = ("system", "user", "assistant")


def read(value: Any) -> tuple[str, Context]:
    """The text of the (last) user message, and the messages before it.

    >>> read("1+1?")
    ('1+1?', ())
    >>> read([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}])
    ('1+1?', (('system', 'Be brief.'),))

    Raises:
        ValueError: neither a text that is not empty nor such messages.
    """
    if isinstance(value, str):
        if not value.strip():
            raise ValueError(f"is {shown(value, 60)}; a prompt is text that is not empty: fix the row")
        return value, ()
    if not isinstance(value, Sequence) or not value or not all(isinstance(m, Mapping) for m in value):
        raise ValueError(
            f"is {shown(value, 60)}; a prompt is text, or a list of messages {{role: user, content: ...}}: fix the row"
        )
    turns = tuple(_turn(message, first=number == 0) for number, message in enumerate(value))
    role, text = turns[-1]
    if role != "user":
        raise ValueError(
            f"ends with the message of the {role}; a prompt ends with the user's: leave the last one out"
        )
    return text, turns[:-1]


def _turn(message: Mapping[str, Any], *, first: bool) -> tuple[str, str]:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES or (role == "system" and not first):
        raise ValueError(
            f"has a message of role {shown(role, 60)}; roles are user, assistant, and system for the first message"
        )
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = _joined(content)
    if not isinstance(content, str) or not content.strip():
        raise ValueError(
            f"has a message of the {role} with content {shown(content, 60)}; give text that is not empty"
        )
    return role, content


def _joined(parts: Sequence[Any]) -> str | None:
    """The text of content in parts; None: one of them is no text (an image)."""
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    words = [text for text in texts if isinstance(text, str)]
    return "".join(words) if len(words) == len(texts) else None
