"""The errors a user can cause or must act on. Each message says: value found, rule, remedy."""

from __future__ import annotations


class LenrlError(Exception):
    """Base of all errors with a message meant for the user; `exit_code` is the command line's."""

    exit_code = 1


class BadInput(LenrlError):
    """Input that was refused before any model loaded: a recipe, a key, a row, a file."""

    exit_code = 2


class RunFailed(LenrlError):
    """A run that had to stop: the last checkpoint is intact."""
