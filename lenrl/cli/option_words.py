"""Words that may follow on a command line: recipes, keys, values; read from files, so that nothing heavy is loaded.

Names of options stand in the classes of strategies, tasks and of TRL's configuration. Their source is parsed instead
of imported, which takes a hundredth of the time.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput, did_you_mean
from lenrl.recipe_paths import GROUPS, RECIPES, group_choices, recipe_files

PACKAGE = Path(__file__).parents[1]
SLOTS = {  # and the folder of its strategies
    "budget": "budgets",
    "truncation": "truncation",
    "reward": "rewards",
    "advantage": "advantages",
    "objective": "objectives",
    "sampling": "sampling",
}
TRAINER = (  # classes that fields of `trainer` come from
    ("trl", "trainer/grpo_config.py", "GRPOConfig"),
    ("trl", "trainer/base_config.py", "_BaseConfig"),
    ("transformers", "training_args.py", "TrainingArguments"),
)


def recipes() -> list[str]:
    """Names of the shipped recipes."""
    return list(recipe_files())


def words(prefix: str, given: Sequence[str] = ()) -> Iterator[str]:
    """Keys and values that `prefix` may become.

    Args:
        prefix: what is typed of the word.
        given: the words before it, the recipe's name among them.
    """
    key, is_value, _ = prefix.partition("=")
    if is_value:
        yield from (f"{key}={value}" for value in _values(key))
        return
    section, dot, _ = prefix.partition(".")
    if dot:
        yield from (f"{section}.{name}=" for name in _options(section, given))
        return
    for name, value in {**_base(), **dict.fromkeys(GROUPS, {})}.items():
        if name in SLOTS or name in GROUPS or not isinstance(value, Mapping):
            yield f"{name}="
        if isinstance(value, Mapping):
            yield f"{name}."


def strategies(slot: str) -> dict[str, list[str]]:
    """Options of the strategies of a slot, by name."""
    found = {}
    for path in sorted((PACKAGE / "strategies" / SLOTS[slot]).glob("*.py")):
        for node in _classes(path):
            names = [
                statement.value.value
                for statement in node.body
                if isinstance(statement, ast.Assign | ast.AnnAssign)
                and isinstance(statement.value, ast.Constant)
                and "name" in map(ast.unparse, _targets(statement))
            ]
            found |= {str(name): _fields_with_bases(node) for name in names}
    return found


@cache
def trainer_fields() -> list[str]:
    """The fields of TRL's GRPOConfig."""
    found = []
    for package, file, name in TRAINER:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            found += [
                field
                for node in _classes(Path(folder) / file)
                if node.name == name
                for field in _fields(node)
            ]
    return sorted(set(found))


def require_trainer_fields(overrides: Sequence[str]) -> None:
    """Refuse fields of `trainer` that there are not, for verbs that read few of them and load no TRL.

    Raises:
        BadInput: the first of them, with the nearest.
    """
    from lenrl.config.overrides import parse

    for a in parse(overrides):
        given = a.value if len(a.keys) == 1 and isinstance(a.value, Mapping) else a.keys[1:2]
        for name in given if a.keys[0] == "trainer" else ():
            if name not in (known := trainer_fields()):
                hint = did_you_mean(name, known, "trainer.{}")
                raise BadInput(f"override {a.line!r}: TRL's GRPOConfig has no field {name!r}.{hint}")


def _values(key: str) -> list[str]:
    if key in SLOTS:
        return list(strategies(key))
    return group_choices(key) if key in GROUPS else []


def _options(section: str, given: Sequence[str]) -> list[str]:
    """Options of a section; of a slot those of the strategy that the line or the recipe's file chooses."""
    if section in SLOTS:
        known = strategies(section)
        return known.get(
            _chosen(section, given), sorted({name for names in known.values() for name in names})
        )
    if section == "task":
        return _fields_of("tasks/*.py")
    if section == "verifier":
        return _fields_of("verify/settings.py")
    names = list(_base().get(section) or ())
    if section == "launch":
        names += [name for path in (RECIPES / "launch").glob("*.yaml") for name in _read(path)]
    return sorted({*names, *trainer_fields()} - _owned() if section == "trainer" else {*names})


def _chosen(slot: str, given: Sequence[str]) -> str:
    for word in reversed(given):
        key, _, value = word.partition("=")
        if key in (slot, f"{slot}.name"):
            return value
    path = recipe_files().get(next((word for word in given if "=" not in word), ""))
    content = _read(path).get(slot) if path else None
    return str(content.get("name")) if isinstance(content, Mapping) else str(content)


def _owned() -> set[str]:
    """Fields of the trainer that a recipe must not set."""
    tree = ast.parse((PACKAGE / "training" / "trl_fields.py").read_text(encoding="utf-8"))
    return {
        name
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OWNED"
        for name in ast.literal_eval(node.value)
    }


def _fields_of(files: str) -> list[str]:
    """Fields of all classes in these files that a recipe's section is checked by."""
    found = {
        field
        for path in PACKAGE.glob(files)
        for node in _classes(path)
        if node.bases
        for field in _fields(node)
    }
    return sorted(found - {"name"})


def _fields_with_bases(node: ast.ClassDef) -> list[str]:
    """Fields of a strategy's class, those first that it has from classes beside the slots' folders."""
    bases = filter(None, (_base_class(ast.unparse(base)) for base in node.bases))
    return list(dict.fromkeys([*(n for base in bases for n in _fields_with_bases(base)), *_fields(node)]))


@cache
def _base_class(name: str) -> ast.ClassDef | None:
    files = sorted((PACKAGE / "strategies").glob("*.py"))
    return next((node for path in files for node in _classes(path) if node.name == name), None)


def _fields(node: ast.ClassDef) -> list[str]:
    annotated = [
        s for s in node.body if isinstance(s, ast.AnnAssign) and "ClassVar" not in ast.unparse(s.annotation)
    ]
    names = [ast.unparse(statement.target) for statement in annotated]
    return [name for name in names if not name.startswith("_")]


def _targets(statement: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return statement.targets if isinstance(statement, ast.Assign) else [statement.target]


@cache
def _classes(path: Path) -> tuple[ast.ClassDef, ...]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(node for node in tree.body if isinstance(node, ast.ClassDef))


@cache
def _base() -> dict[str, Any]:
    return {name: value for name, value in _read(RECIPES / "base.yaml").items() if name != "defaults"}


@cache
def _read(path: Path) -> dict[str, Any]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader) or {}
