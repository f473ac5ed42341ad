"""Base of the verbs' argument parsers."""

import argparse
import os
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from lenrl.errors import BadInput

COMPLETING = "_ARGCOMPLETE"  # environment variable by which a shell asks argcomplete for the next word


class Help(argparse.HelpFormatter):
    """Lines filled to the terminal's width with the indent that they have; examples, to be copied, stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return text
        return "\n".join(
            textwrap.fill(
                line, width, subsequent_indent=" " * (len(line) - len(line.lstrip())), break_on_hyphens=False
            )
            for line in text.splitlines()
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """A parser whose faults are `BadInput`, whose help ends with examples, whose flags may stand anywhere."""

    def __init__(self, verb: str, description: str, examples: Sequence[str]) -> None:
        super().__init__(
            prog=f"lenrl {verb}",
            description=description,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
            formatter_class=Help,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{self.prog}: {message}. See `{self.prog} --help`.")

    def recipe(self) -> None:
        """RECIPE [key=value ...] and --plugin FILE.py."""
        named = self.add_argument(
            "recipe", metavar="RECIPE", help="a recipe's name (`lenrl ls`) or a YAML file"
        )
        completed(named, "recipe")
        self.overrides()
        self.plugin()

    def overrides(self) -> None:
        words = self.add_argument(
            "overrides", nargs="*", metavar="key=value", help="settings, for example reward=kimi seed=1"
        )
        completed(words, "override")

    def plugin(self) -> None:
        self.add_argument(
            "--plugin",
            action="append",
            default=[],
            type=Path,
            metavar="FILE.py",
            help="a file with strategies, tasks, verifiers or reward functions of your own; may be given several times",
        )

    def multirun(self) -> None:
        """Hydra's flag for many runs: understood only to be refused with a pointer."""
        self.add_argument("-m", "--multirun", action="store_true", help=argparse.SUPPRESS)

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse; positional arguments may stand on both sides of flags. `~key` overrides are positional."""
        if COMPLETING in os.environ:
            import argcomplete

            argcomplete.autocomplete(self)  # which ends the program
        options = self.parse_intermixed_args(list(arguments))
        if getattr(options, "multirun", False):
            options.overrides.insert(0, "--multirun")
        return options


def completed(action: Any, by: str, **given: Any) -> None:
    """A shell completes this argument with what a function of `lenrl.cli.completers` gives."""
    if COMPLETING in os.environ:
        from lenrl.cli import completers

        action.completer = partial(getattr(completers, by), **given)
