"""`lenrl ls`: recipes, strategies and what else plug-ins may bring, a line each; one of them with its options."""

import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl.cli.arguments import Parser

if TYPE_CHECKING:
    from lenrl.cli.option_list import Option

EXAMPLES = (
    "lenrl ls",
    "lenrl ls recipes",
    "lenrl ls reward",
    "lenrl ls reward kimi",
    "lenrl ls task table",
    "lenrl ls launch zero2",
    "lenrl ls guard",
    "lenrl ls trainer learning_rate",
    "lenrl ls verifier --plugin mine.py",
    "lenrl ls runs",
    "lenrl ls runs outputs/sweeps --json",
    "lenrl ls --json",
    "lenrl ls --schema > recipe.schema.json",
)
OTHERS = ("task", "verifier", "reward_function")  # what plug-ins may bring besides strategies
FILES = ("model", "launch")  # groups of files, whose options are a section's
# Sections of a recipe that have options and nothing to choose; `recipe` has those outside all sections.
PLAIN = ("trainer", "update", "guard", "logging", "hub", "evals", "eval", "reward_functions", "recipe")


def main(arguments: Sequence[str]) -> int:
    parser = Parser("ls", "List recipes, strategies, tasks and verifiers with what they do.", EXAMPLES)
    parser.add_argument(
        "what",
        nargs="?",
        metavar="WHAT",
        help="runs, recipes, a slot (budget, reward, ...), task, verifier, reward_function, model, launch, or a "
        "section: " + ", ".join(PLAIN),
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="one of them: what it does, its options; of runs a folder"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument("--schema", action="store_true", help="the JSON schema of a recipe's file")
    parser.plugin()
    options = parser.read(arguments)
    if options.schema and options.what is not None:
        parser.error(f"--schema is of a whole recipe: leave out {options.what}")
    if options.what == "runs":
        from lenrl.cli import run_list

        found = run_list.runs(Path(options.name or "outputs"))
        shown = json.dumps(found, indent=2) + "\n" if options.json else run_list.table(found)
        sys.stdout.write(shown)
        return 0
    if options.schema:
        sys.stdout.write(json.dumps(_schema(options.plugin), indent=2) + "\n")
        return 0
    if options.what is not None and (options.name is not None or options.what in PLAIN):
        text, fields = described(options.what, options.name, options.plugin)
        entry = {"text": text, "options": [asdict(field) for field in fields or ()]}
        sys.stdout.write(json.dumps(entry, indent=2) + "\n" if options.json else _page(text, fields))
        return 0
    names = listing(options.plugin, options.what)
    sys.stdout.write(json.dumps(names, indent=2) + "\n" if options.json else _table(names))
    if options.what in FILES and not options.json:
        sys.stdout.write("\n" + _page(*described(options.what, None)))
    return 0


def listing(plugins: Sequence[Path] = (), what: str | None = None) -> dict[str, dict[str, str]]:
    """`{"recipes": {name: description}, slot: {name: description}, ...}`.

    Raises:
        BadInput: `what` is none of these, or a file of `plugins` is refused.
    """
    from lenrl.config import RECIPES, SLOTS, recipe_files
    from lenrl.errors import BadInput, did_you_mean

    kinds = (*SLOTS, *OTHERS)
    if what is not None and what not in ("recipes", *kinds, *FILES):
        known = ("recipes", *kinds, *FILES, *PLAIN)
        raise BadInput(f"{what!r} can't be listed; there are {', '.join(known)}.{did_you_mean(what, known)}")
    if what in FILES:
        return {what: {path.stem: _comment(path) for path in sorted((RECIPES / what).glob("*.yaml"))}}
    names: dict[str, dict[str, str]] = {}
    if what in (None, "recipes"):
        recipes = sorted(recipe_files().items(), key=lambda item: ("/" in item[0], item[0]))
        names["recipes"] = {name: _comment(path) for name, path in recipes}
    wanted = [kind for kind in kinds if what in (None, kind)]
    if wanted:
        from lenrl.config import plugin_files

        plugin_files.load(plugins)
        names |= {kind: _described(kind) for kind in wanted}
    if what in (None, "task"):
        names["task files"] = {name: _comment(path) for name, path in _task_files().items()}
    return names


def described(what: str, name: str | None, plugins: Sequence[Path] = ()) -> tuple[str, "list[Option] | None"]:
    """Text on one of them, and its options; of files and recipes their content, and None.

    Raises:
        BadInput: there is none of that name.
    """
    from lenrl.cli.option_list import options_of
    from lenrl.config import RECIPES, recipe_files
    from lenrl.errors import BadInput, did_you_mean

    if what in PLAIN or name is None:
        return "", _fields(what, name)
    listed = listing(plugins, what)
    found = listed[what] | listed.get("task files", {})
    if name not in found:
        hint = did_you_mean(name, found) or f" There are {', '.join(found)}."
        raise BadInput(f"{what} has no {name!r}.{hint}")
    if what in FILES or what == "recipes" or name not in listed[what]:
        path = recipe_files()[name] if what == "recipes" else RECIPES / what / f"{name}.yaml"
        return path.read_text(encoding="utf-8"), None
    text, kind = described_class(what, name)
    options = options_of(kind) if hasattr(kind, "model_fields") else None
    return f"{what} {name}\n\n{text}\n\n", options


def _page(text: str, options: "list[Option] | None") -> str:
    from lenrl.cli.option_list import table

    return text if options is None else text + table(options)


def _task_files() -> dict[str, Path]:
    """Files of recipes/task/ that are not called as a task is: `task=math500`."""
    from lenrl.config import RECIPES

    files = sorted((RECIPES / "task").glob("*.yaml"))
    return {path.stem: path for path in files if path.stem not in _built_in("task")}


def described_class(what: str, name: str) -> tuple[str, Any]:
    """The docstring, without its examples, and the class or function of that name."""
    kind = _class_of(what, name)
    return inspect.cleandoc(kind.__doc__ or "").split("\n>>>")[0].rstrip(), kind


def _fields(section: str, name: str | None) -> list["Option"]:
    from lenrl.cli.section_list import section_options, trainer_options
    from lenrl.errors import BadInput, did_you_mean

    fields = {
        option.name: option
        for option in (trainer_options() if section == "trainer" else section_options(section))
    }
    if name is None:
        return list(fields.values())
    if name not in fields:
        raise BadInput(
            f"{section} has no field {name!r}.{did_you_mean(name, fields)} `lenrl ls {section}` lists them."
        )
    return [fields[name]]


def _class_of(what: str, name: str) -> Any:
    from lenrl import plugins

    if what == "verifier" and name in _built_in(what):
        from lenrl.verify.settings import VerifierSettings

        return type(name, (VerifierSettings,), {"__doc__": _built_in(what)[name].__doc__})
    return _built_in(what).get(name) or plugins.find(what, name, _built_in(what))


def _schema(plugins: Sequence[Path]) -> dict[str, Any]:
    from lenrl.cli.option_list import schema
    from lenrl.config import SLOTS, plugin_files
    from lenrl.strategies import registry
    from lenrl.training.trl_fields import trainer_fields

    plugin_files.load(plugins)
    return schema({slot: registry.available(slot) for slot in SLOTS}, trainer_fields())


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
    from lenrl.cli.option_list import listed

    return "\n".join(f"{heading}\n{listed(texts)}" for heading, texts in names.items())
