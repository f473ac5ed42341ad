"""Takes secrets and control characters out of what is printed or logged. Standard library only."""

import logging
import os
import re

_NAME = re.compile(
    r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASS|PWD|PASSWORD|PASSWD|PASSPHRASE|PAT|CREDENTIALS?|AUTH|COOKIE|DSN)(_|$|\d)"
    r"|(APIKEY|SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN)$",
    re.IGNORECASE,
)
_NO_SECRETS = ("PWD", "OLDPWD")  # the shell's folders
_ORDINARY = frozenset(
    "true false none null auto default enabled disabled basic bearer local test".split()  # noqa: SIM905
)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}://)[^/\s@'\"]+@")
_PARAMETER = re.compile(
    r"([?&](?:api[-_]?key|(?:(?:access|auth|hf|api)[-_])?token|(?:client[-_])?secret|passw(?:or)?d|sig"
    r"|x-amz-(?:signature|security-token))=)[^&#\s'\"]+",
    re.IGNORECASE,
)
LONG = 8  # characters of a variable's value from which on it is found inside words too
SHORTEST = 4  # characters; a shorter value can't be told from ordinary text
MAX_CHARS = 20_000  # of a message
HIDDEN = "***"
_UNSEEN = {n: chr(0x2400 + n) for n in range(32) if chr(n) not in "\n\t"} | {127: "\u2421"}
_UNSEEN |= dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")


def redacted(text: str) -> str:
    """The text without a URL's user, password and keys, and without the values of variables named like secrets.

    >>> redacted("no such file: https://me:hunter2@example.org/a.json")
    'no such file: https://***@example.org/a.json'
    >>> redacted("https://example.org/a.json?api_key=hunter2&page=3")
    'https://example.org/a.json?api_key=***&page=3'
    """
    text = _PARAMETER.sub(rf"\1{HIDDEN}", _URL.sub(rf"\1{HIDDEN}@", text))
    for value in secrets():
        if len(value) >= LONG:
            text = text.replace(value, HIDDEN)
        elif value in text:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", HIDDEN, text)
    return text


def secrets() -> list[str]:
    """Values of this process's environment variables that are named like secrets, longest first.

    Not those of files that exist, and not short ones that are ordinary words.
    """
    values = {
        value
        for name, value in os.environ.items()
        if _NAME.search(name)
        and name not in _NO_SECRETS
        and len(value) >= SHORTEST
        and value.casefold() not in _ORDINARY
        and not (os.path.isabs(value) and os.path.exists(value))
    }
    return sorted(values, key=len, reverse=True)


def visible(text: str) -> str:
    """A text whose control characters show and do nothing to a terminal, and which UTF-8 can hold.

    >>> visible("\x1b[0m" + chr(0))
    '␛[0m␀'
    """
    return text.translate(_UNSEEN).encode("utf-8", "replace").decode()


def printable(text: str, chars: int = MAX_CHARS) -> str:
    """A text as a log or a terminal may have it: cut in the middle, without secrets, control characters made visible.

    >>> printable("seven" * 10, 20)
    'sevenseven[30 characters left out]sevenseven'
    """
    if len(text) <= chars:
        return visible(redacted(text))
    # What a cut leaves of a secret goes too: as much as the longest one has, behind what is kept.
    half, margin = chars // 2, max(map(len, secrets()), default=0)
    head, tail = redacted(text[: half + margin]), redacted(text[-half - margin :])
    kept = visible(head[: len(head) - margin]), visible(tail[margin:])
    return f"[{len(text) - chars} characters left out]".join(kept)


class Redacting(logging.Filter):
    """Makes every record of a handler printable, its traceback included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        record.msg, record.args = printable(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = printable(record.exc_text)
        return True
