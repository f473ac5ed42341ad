"""Options of a class or a section as a user reads them: type, default, bounds, words; and the schema of a recipe."""

import ast
import inspect
import shutil
import textwrap
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from rich.markup import escape
from rich.table import Table

from lenrl.terminal import Terminal

SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of", "pattern": "matches"}
KIND = 30  # characters of a type or default in a line; longer ones go on below


@dataclass(frozen=True)
class Option:
    """One option: `kind` and `default` as they are written in YAML."""

    name: str
    kind: str
    default: str
    words: str = ""


def options_of(kind: type[BaseModel]) -> list[Option]:
    """The options of a class, in order; words are the field's description, or the comment beside or above it.

    A class that only changes a default has the words of the class it inherits from.
    """
    words: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        fields = base.model_fields if issubclass(base, BaseModel) else {}
        words |= {name: field.description for name, field in fields.items() if field.description}
        words |= {name: text for name, text in _comments(base).items() if text}
    return [
        Option(name, kind_of(field), _default(field), field.description or words.get(name, ""))
        for name, field in kind.model_fields.items()
        if name != "name"
    ]


def table(options: Sequence[Option]) -> str:
    """Options as aligned lines, as wide as the terminal: words wrap, names do not."""
    if not options:
        return "  no options\n"
    shown = [name for name in ("kind", "default") if any(getattr(option, name) for option in options)]
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    grid.add_column("  option", no_wrap=True)
    for name in shown:
        grid.add_column({"kind": "type"}.get(name, name), max_width=KIND, overflow="fold")
    grid.add_column("")
    for option in options:
        cells = [f"  {option.name}", *(getattr(option, name) for name in shown), option.words]
        grid.add_row(*map(escape, cells))
    return lines_of(grid)


def listed(names: Mapping[str, str]) -> str:
    """Names with a line of words each, as wide as the terminal."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column()
    for name, text in names.items():
        grid.add_row(f"  {escape(name)}", escape(text))
    return lines_of(grid)


def lines_of(grid: Table) -> str:
    """A table as text, of the terminal's width or COLUMNS; 110 where neither is known."""
    width = shutil.get_terminal_size((110, 24)).columns
    console = Terminal(width=width, file=StringIO(), color_system=None, highlight=False)
    console.print(grid)
    text = console.file.getvalue()  # type: ignore[attr-defined] - the StringIO
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def schema(kinds: Mapping[str, Mapping[str, type[BaseModel]]], trainer: type[BaseModel]) -> dict[str, Any]:
    """JSON schema (2020-12) of a recipe's file: every section, and for each slot the options of every strategy.

    Args:
        kinds: strategies by slot and name.
        trainer: the fields under `trainer`.
    """
    from lenrl.config import Recipe

    properties: dict[str, Any] = {"defaults": {"type": "array"}}
    definitions: dict[str, Any] = {}
    for name, field in Recipe.model_fields.items():
        if name in kinds:
            properties[name] = _one_of(kinds[name])
        elif name == "trainer":
            properties[name] = _without_required(trainer.model_json_schema())
        else:
            annotation: Any = field.annotation
            own = TypeAdapter(annotation).json_schema(ref_template="#/$defs/{model}")
            definitions |= own.pop("$defs", {})
            properties[name] = own
    definitions = {name: _without_required(content) for name, content in definitions.items()}
    properties["evals"] = _or_text({**properties["evals"], "items": _or_text(properties["evals"]["items"])})
    functions = properties["reward_functions"]
    weight = {"anyOf": [{"type": "number"}, functions["additionalProperties"]]}
    properties["reward_functions"] = {**functions, "additionalProperties": weight}
    for content, name in ((definitions["OtherData"], "task"), (properties["logging"], "report_to")):
        content["properties"][name] = _or_text(content["properties"][name])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a recipe of lenrl",
        "type": "object",
        "properties": {name: _without_required(content) for name, content in properties.items()},
        "additionalProperties": False,
        "$defs": definitions,
    }


def _or_text(content: dict[str, Any]) -> dict[str, Any]:
    """Or its name alone."""
    return {"anyOf": [{"type": "string"}, content]}


def _one_of(kinds: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    options = []
    for name, kind in kinds.items():
        own = kind.model_json_schema()
        own["properties"] = {"name": {"const": name}, **own.get("properties", {})}
        options.append({**_without_required(own), "required": ["name"]})
    return {"anyOf": [{"enum": list(kinds)}, *options]}


def _without_required(content: dict[str, Any]) -> dict[str, Any]:
    """A file says what differs from the files that it begins with, so that nothing must be there."""
    return {key: value for key, value in content.items() if key != "required"}


def kind_of(field: FieldInfo) -> str:
    """Type and bounds of a field in words: `int | null, >= 1`."""
    bounds = []
    for mark in field.metadata:
        bounds += [f"{sign} {getattr(mark, name)}" for name, sign in SIGNS.items() if hasattr(mark, name)]
    return ", ".join([_words(field.annotation), *dict.fromkeys(b for b in bounds if not b.endswith(" None"))])


def _words(annotation: Any) -> str:
    """A type as words: `int | null`, `boxed | answer_tag`, `list of str`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return "null"
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(_words(argument) for argument in arguments)
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _words(arguments[0])
    if origin in (list, tuple, set, frozenset):
        return f"list of {_words(arguments[0])}" if arguments else "list"
    if origin is not None or not isinstance(annotation, type):
        return "mapping" if origin in (dict, Mapping) else "any"
    return "mapping" if annotation is dict or issubclass(annotation, BaseModel) else annotation.__name__


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else written(field.get_default(call_default_factory=True))


def written(value: Any) -> str:
    """A default as YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = str(list(plain) if isinstance(plain, tuple) else plain)
    return text.replace("\n", "\\n") or "''"


def _comments(kind: type) -> dict[str, str]:
    """Comments beside, or alone above, the annotated names of a class."""
    try:
        lines = textwrap.dedent(inspect.getsource(kind)).splitlines()
    except (OSError, TypeError):  # a class that stands in no file
        return {}
    found = {}
    (tree,) = ast.parse("\n".join(lines)).body
    assert isinstance(tree, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            beside = _after_code(lines[(node.end_lineno or node.lineno) - 1], node.end_col_offset or 0)
            above = lines[node.lineno - 2].strip()
            found[node.target.id] = beside or (above.lstrip("# ") if above.startswith("#") else "")
    return found


def _after_code(line: str, end: int) -> str:
    rest = line.encode()[end:].decode().strip()
    return rest.lstrip("# ") if rest.startswith("#") else ""
