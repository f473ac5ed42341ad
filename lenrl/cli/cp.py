"""`lenrl cp`: copy a recipe to edit."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lenrl.cli.arguments import Parser, completed
from lenrl.errors import BadInput

EXAMPLES = ("lenrl cp drpo my.yaml", "lenrl train my.yaml")


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "cp",
        "Copy a recipe's file. It still builds on `base`, which comes with lenrl: it works from any folder.",
        EXAMPLES,
    )
    completed(
        parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name (`lenrl ls`) or a YAML file"),
        "recipe",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="where to; a folder keeps the name")
    options = parser.read(arguments)

    from lenrl.config import find
    from lenrl.config.yaml_files import checked_text
    from lenrl.recipe_paths import SUFFIXES

    name, source = find(options.recipe)
    text = checked_text(source)
    target = options.file
    try:
        if target.is_dir():
            target /= f"{Path(name).name}.yaml"
        if target.suffix not in SUFFIXES:
            target = target.with_name(target.name + ".yaml")
        with open(target, "x", encoding="utf-8") as copy:
            copy.write(text)
    except FileExistsError:
        raise BadInput(f"{target} exists and is not overwritten. Choose another name or remove it.") from None
    except OSError as fault:
        raise BadInput(f"{target} can't be written: {fault.strerror}. Choose another place.") from None
    sys.stdout.write(f"{target}\n")
    return 0
