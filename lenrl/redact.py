"""Takes secrets out of what is printed or logged. Standard library only."""

import logging
import os
import re

_NAME = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD)(_|$)", re.IGNORECASE)
_URL = re.compile(r"(\w+://)[^/\s@'\"]+@")
SHORTEST = 8  # characters of a variable's value; a shorter one would be found in ordinary words
HIDDEN = "***"


def redacted(text: str) -> str:
    """The text without user and password of a URL, and without the values of variables named like secrets.

    >>> redacted("no such file: https://me:hunter2@example.org/a.json")
    'no such file: https://***@example.org/a.json'
    """
    text = _URL.sub(rf"\1{HIDDEN}@", text)
    for value in secrets():
        text = text.replace(value, HIDDEN)
    return text


def secrets() -> list[str]:
    """Values of this process's environment variables that are named like secrets, longest first."""
    values = {
        value
        for name, value in os.environ.items()
        if _NAME.search(name) and len(value) >= SHORTEST and not os.path.isabs(value)
    }
    return sorted(values, key=len, reverse=True)


class Redacting(logging.Filter):
    """Redacts every record of a handler, its traceback included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        record.msg, record.args = redacted(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redacted(record.exc_text)
        return True
