"""`lenrl completion`: what a shell runs once to complete `lenrl`'s verbs, recipes, keys and values."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from lenrl.cli.arguments import COMPLETING, Parser

EXAMPLES = (
    'eval "$(lenrl completion bash)"                 # in ~/.bashrc',
    'eval "$(lenrl completion zsh)"                  # in ~/.zshrc, after compinit',
    "lenrl completion fish > ~/.config/fish/completions/lenrl.fish",
)


def main(arguments: Sequence[str]) -> int:
    parser = Parser("completion", "Print what your shell needs to complete lenrl's command line.", EXAMPLES)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="which shell")
    options = parser.read(arguments)

    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(["lenrl"], shell=options.shell) + "\n")
    return 0


def verb(verbs: Mapping[str, str]) -> str | None:
    """The verb of the line that a shell completes; None: it is the verb that is asked for, and was answered."""
    import argcomplete

    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    _, _, _, words, _ = argcomplete.lexers.split_line(line)
    if len(words) > 1 and words[1] in verbs:
        os.environ[COMPLETING] = "2"  # the verb's parser begins after `lenrl`
        return words[1]
    parser = argparse.ArgumentParser(prog="lenrl")
    parser.add_argument("verb", choices=[*verbs, "help"])
    if words[1:2] == ["help"]:
        parser.add_argument("of", choices=list(verbs))
    argcomplete.autocomplete(parser)
    return None
