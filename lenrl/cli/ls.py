"""`lenrl ls`: recipes, strategies and what else plug-ins may bring, a line each."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lenrl.cli.arguments import Parser

EXAMPLES = (
    "lenrl ls",
    "lenrl ls recipes",
    "lenrl ls reward",
    "lenrl ls verifier --plugin mine.py",
    "lenrl ls --json",
)
OTHERS = ("task", "verifier", "reward_function")  # what plug-ins may bring besides strategies


def main(arguments: Sequence[str]) -> int:
    parser = Parser("ls", "List recipes, strategies, tasks and verifiers with what they do.", EXAMPLES)
    parser.add_argument(
        "what",
        nargs="?",
        metavar="WHAT",
        help="recipes, budget, reward, ..., task, verifier, reward_function",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.plugin()
    options = parser.read(arguments)
    names = listing(options.plugin, options.what)
    sys.stdout.write(json.dumps(names, indent=2) + "\n" if options.json else _table(names))
    return 0


def listing(plugins: Sequence[Path] = (), what: str | None = None) -> dict[str, dict[str, str]]:
    """`{"recipes": {name: description}, slot: {name: description}, ...}`.

    Raises:
        BadInput: `what` is none of these, or a file of `plugins` is refused.
    """
    from lenrl.config import SLOTS, recipe_files
    from lenrl.errors import BadInput

    kinds = (*SLOTS, *OTHERS)
    if what is not None and what not in ("recipes", *kinds):
        raise BadInput(f"{what!r} can't be listed; there are recipes, {', '.join(kinds)}.")
    names: dict[str, dict[str, str]] = {}
    if what in (None, "recipes"):
        recipes = sorted(recipe_files().items(), key=lambda item: ("/" in item[0], item[0]))
        names["recipes"] = {name: _comment(path) for name, path in recipes}
    wanted = [kind for kind in kinds if what in (None, kind)]
    if wanted:
        from lenrl.config import plugin_files

        plugin_files.load(plugins)
        names |= {kind: _described(kind) for kind in wanted}
    return names


def _described(kind: str) -> dict[str, str]:
    """First lines of the docstrings of a kind, by name; an installed one that is broken says so itself."""
    from lenrl import plugins
    from lenrl.errors import BadInput

    built_in = _built_in(kind)
    texts = {
        name: _first_line(thing.__doc__)
        for name, thing in {**built_in, **plugins.of_files(kind, built_in)}.items()
    }
    for point in plugins.of_packages(kind):
        try:
            texts.setdefault(point.name, _first_line(plugins.installed(kind, point).__doc__))
        except BadInput as fault:
            texts.setdefault(point.name, f"broken: {fault}")
    return dict(sorted(texts.items()))


def _built_in(kind: str) -> Mapping[str, Any]:
    if kind == "task":
        from lenrl.tasks import TASKS

        return TASKS
    if kind == "verifier":
        from lenrl.verify.kinds import KINDS

        return KINDS
    if kind in OTHERS:
        return {}
    from lenrl.strategies import registry

    return registry.built_in(kind)


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
