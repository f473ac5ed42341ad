"""Words that a shell may put in place of an argument, as argcomplete asks for it."""

import argparse
from collections.abc import Sequence
from typing import Any

from lenrl.cli import option_words


def recipe(prefix: str, **_: Any) -> list[str]:
    """Names of recipes, files and folders."""
    return [*option_words.recipes(), *_files(prefix)]


def override(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Keys and values of settings."""
    given = [str(getattr(parsed_args, "recipe", "") or ""), *(getattr(parsed_args, "overrides", None) or ())]
    return list(option_words.words(prefix, given))


def settings(prefix: str, names: Sequence[str], **_: Any) -> list[str]:
    """Files and folders, these words, and settings of a task or a verifier."""
    if prefix.startswith(("task", "verifier")):
        return list(option_words.words(prefix))
    return [*names, *_files(prefix)]


def _files(prefix: str) -> list[str]:
    from argcomplete.completers import FilesCompleter

    return list(FilesCompleter()(prefix))
