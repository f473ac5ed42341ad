"""`lenrl ls`: recipes and strategies, a line each."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lenrl.cli.arguments import Parser

EXAMPLES = ("lenrl ls", "lenrl ls recipes", "lenrl ls reward", "lenrl ls --json")


def main(arguments: Sequence[str]) -> int:
    parser = Parser("ls", "List recipes and strategies with what they do.", EXAMPLES)
    parser.add_argument("what", nargs="?", metavar="WHAT", help="recipes, or a slot: budget, reward, ...")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.plugin()
    options = parser.read(arguments)
    names = listing(options.plugin, options.what)
    sys.stdout.write(json.dumps(names, indent=2) + "\n" if options.json else _table(names))
    return 0


def listing(plugins: Sequence[Path] = (), what: str | None = None) -> dict[str, dict[str, str]]:
    """`{"recipes": {name: description}, slot: {name: description}, ...}`.

    Raises:
        BadInput: `what` is neither `recipes` nor a slot.
    """
    from lenrl.config import SLOTS, recipe_files
    from lenrl.errors import BadInput

    if what is not None and what not in ("recipes", *SLOTS):
        raise BadInput(f"{what!r} can't be listed; there are recipes, {', '.join(SLOTS)}.")
    names: dict[str, dict[str, str]] = {}
    if what in (None, "recipes"):
        recipes = sorted(recipe_files().items(), key=lambda item: ("/" in item[0], item[0]))
        names["recipes"] = {name: _comment(path) for name, path in recipes}
    slots = [slot for slot in SLOTS if what in (None, slot)]
    if slots:
        from lenrl.strategies import registry

        for plugin in plugins:
            registry.load_plugin(plugin)
        for slot in slots:
            kinds = registry.available(slot)
            names[slot] = {name: _first_line(kind.__doc__) for name, kind in sorted(kinds.items())}
    return names


def _comment(path: Path) -> str:
    """The first comment of a recipe's file that is not Hydra's."""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.lstrip("# ").strip()
        if not text.startswith("@package"):
            return text if line.startswith("#") else ""
    return ""


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n", 1)[0]


def _table(names: dict[str, dict[str, str]]) -> str:
    lines = []
    for heading, texts in names.items():
        width = max(map(len, texts), default=0) + 2
        lines += [heading, *(f"  {name:<{width}}{text}".rstrip() for name, text in texts.items()), ""]
    return "\n".join(lines)
