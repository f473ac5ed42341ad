"""Code of the user's own: plug-in files and packages' entry points.

A plug-in is a class that derives from one of BASES, or a reward function. Base classes are known by name, so that this
module stands below them all; standard library only, since workers of the verifier import it.
"""

import ast
import hashlib
import inspect
import linecache
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from lenrl import siblings
from lenrl.code_places import place_of, raised
from lenrl.errors import BadInput, did_you_mean, shown

BASES = {  # module and name of a base class -> kind of plug-in
    **{
        f"lenrl.strategies.base.{slot.title()}": slot
        for slot in ("budget", "truncation", "reward", "advantage", "objective", "sampling")
    },
    "lenrl.tasks.base.Task": "task",
    "lenrl.verify.base.VerifierPlugin": "verifier",
}
FUNCTION = "reward_function"
KINDS = (*BASES.values(), FUNCTION)  # entry points of a kind are those of the group `lenrl.KINDs`


@dataclass(frozen=True)
class PluginFile:
    """A file that was imported, as it was then."""

    path: Path
    source: bytes
    module: ModuleType
    objects: Mapping[str, Mapping[str, Any]]  # by kind, by name
    # Modules that it imports from its folder, by file name
    beside: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Sixteen hex digits of its text, and of those beside it."""
        texts = [self.source, *(part for name, text in self.beside.items() for part in (name.encode(), text))]
        return hashlib.blake2b(b"\0".join(texts), digest_size=8).hexdigest()

    @property
    def texts(self) -> dict[str, bytes]:
        """All that it is made of, by file name."""
        return {**self.beside, self.path.name: self.source}


_files: dict[str, PluginFile] = {}  # by file name: the one imported last


def load(
    path: Path | str, source: bytes | None = None, beside: Mapping[str, bytes] | None = None
) -> PluginFile:
    """Import a Python file whose plug-ins are then found by name; the same text once, a later one in its place.

    Args:
        source: its text, where it was read before.
        beside: with `source`, the modules beside it.

    Raises:
        BadInput: no such file, importing it raises, it holds no plug-in, or a class that is none; with file and line.
    """
    file = Path(path).absolute()
    if source is None:
        if file.suffix != ".py" or not file.is_file():
            raise BadInput(f"--plugin {path}: no such file; give a Python file, ending in .py")
        source = file.read_bytes()
        beside = siblings.read(file, source)
    former = _files.get(file.name)
    if former is not None and (former.source, former.beside) == (source, beside or {}):
        return former
    siblings.keep(file, beside or {})
    module = _imported(file, source)
    plugin = PluginFile(file, source, module, _objects(module, file, source), beside or {})
    for other in _files.values():
        for kind, named in plugin.objects.items():
            for name in named.keys() & other.objects.get(kind, {}).keys() if other is not former else ():
                raise BadInput(
                    f"{place_of(named[name])}: {kind} {name!r} exists already, in {other.path}; choose another name"
                )
    _files[file.name] = plugin
    return plugin


def of_files(kind: str, built_in: Mapping[str, Any]) -> dict[str, Any]:
    """Plug-ins of a kind in the files that were imported, by name.

    Raises:
        BadInput: one has a built-in one's name; its file is forgotten.
    """
    found: dict[str, Any] = {}
    for plugin in list(_files.values()):
        for name, thing in plugin.objects.get(kind, {}).items():
            if name in built_in:
                del _files[plugin.path.name]
                raise BadInput(f"{place_of(thing)}: {kind} {name!r} exists already; choose another name")
            found[name] = thing
    return found


def of_packages(kind: str) -> EntryPoints:
    """Entry points that installed packages have for a kind; none is loaded."""
    return entry_points(group=f"lenrl.{kind}s")


def installed(kind: str, point: EntryPoint) -> Any:
    """The plug-in of an entry point.

    Raises:
        BadInput: it cannot be loaded, or is no plug-in of that kind and name.
    """
    where = f"installed {kind.replace('_', ' ')} {point.name!r} ({point.value})"
    try:
        thing = point.load()
    except Exception as error:
        raise BadInput(f"{where} cannot be loaded: {raised(error)}; repair or uninstall it") from error
    if kind == FUNCTION:
        if not callable(thing):
            raise BadInput(f"{where} must be a function of completions")
    elif not (kind_of(thing) == kind and name_of(thing) == point.name):
        base = next(base for base, other in BASES.items() if other == kind)
        raise BadInput(f"{where} must be a subclass of {base} with name = {point.name!r}")
    return thing


def find(kind: str, name: Any, built_in: Mapping[str, Any]) -> Any:
    """The built-in thing or plug-in of that kind and name; None: there is none. Only what is named is loaded.

    Raises:
        BadInput: an installed one that cannot be loaded, or a name that is taken twice.
    """
    known = {**built_in, **of_files(kind, built_in)}
    if not isinstance(name, str):
        return None
    if name in known:
        return known[name]
    return next((installed(kind, point) for point in of_packages(kind) if point.name == name), None)


def named(kind: str, name: Any, built_in: Mapping[str, Any], form: str, more: str = "") -> Any:
    """Thing that `find` gives for a name in a recipe.

    Args:
        kind, name, built_in: as `find` takes them.
        form: how a recipe names it, `reward={}`.
        more: a sentence of the message.

    Raises:
        BadInput: there is none of that name; the nearest is named.
    """
    thing = find(kind, name, built_in)
    if thing is None:
        known = names(kind, built_in)
        there = f"there are {', '.join(known)}" if known else "no plug-in has any"
        hint, more = did_you_mean(name, known, form), f" {more}" if more else ""
        raise BadInput(
            f"{form.format(name)} is unknown; {there}.{hint}{more} One of your own comes with "
            "--plugin FILE.py (in Python, plugins=[FILE])"
        )
    return thing


def names(kind: str, built_in: Mapping[str, Any]) -> list[str]:
    """All names of a kind, for messages."""
    return sorted({*built_in, *of_files(kind, built_in), *(point.name for point in of_packages(kind))})


def file_of(thing: Any) -> PluginFile | None:
    """The plug-in file that a class or function stands in; None: it is no file's."""
    module = getattr(thing, "__module__", None)
    return next((plugin for plugin in _files.values() if plugin.module.__name__ == module), None)


def no_function(name: str) -> str:
    """A sentence on what has that name in an imported file and is no reward function; empty: nothing has."""
    for plugin in _files.values():
        if (thing := getattr(plugin.module, name, None)) is not None:
            rule = "a reward function is callable, with a parameter `completions` or `completion_ids`, and not imported"
            return f"{plugin.path} has {name}={shown(thing, 80)}: {rule}."
    return ""


def texts_of(name: str) -> dict[str, bytes]:
    """The texts that an imported file is made of, by file name."""
    return _files[name].texts


def kind_of(thing: Any) -> str | None:
    """The kind of plug-in that a class is, by the first of its base classes that is one of BASES."""
    bases = thing.__mro__ if inspect.isclass(thing) else ()
    places = (f"{base.__module__}.{base.__qualname__}" for base in bases[1:])
    return next((BASES[place] for place in places if place in BASES), None)


def name_of(kind: Any) -> str | None:
    """The name that a recipe has for a class: `name` in its body, or the default of a field `name`."""
    field = getattr(kind, "model_fields", {}).get("name")
    name = getattr(kind, "name", None) if field is None else field.default
    return name if isinstance(name, str) and name else None


def _imported(file: Path, source: bytes) -> ModuleType:
    name = f"lenrl_plugin_{file.stem}_{hashlib.blake2b(source, digest_size=4).hexdigest()}"
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module  # pydantic looks up the annotations' module
    lines = source.decode("utf-8", "replace").splitlines(keepends=True)
    # The file may change while this text runs.
    linecache.cache[str(file)] = (len(source), None, lines, str(file))
    try:
        exec(compile(source, str(file), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        said, cure = raised(error, file=str(file)), "repair it"
        if isinstance(error, ModuleNotFoundError) and error.name and (file.parent / error.name).is_dir():
            cure = (
                f"a run keeps the files beside a plug-in, no folders: put what it needs of {error.name}/ into a file, "
                "or install that as a package"
            )
        raise BadInput(f"--plugin {file}: importing it raised {said}; {cure}") from error
    return module


def _objects(module: ModuleType, file: Path, source: bytes) -> dict[str, dict[str, Any]]:
    objects: dict[str, dict[str, Any]] = {}
    for kind, name, thing in (*_classes(module), *_functions(module, _bound_by_imports(source))):
        objects.setdefault(kind, {})[name] = thing
    if not objects:
        raise BadInput(
            f"--plugin {file}: it defines no plug-in: no strategy, task or verifier, a class that derives from "
            f"one of {', '.join(base.rpartition('.')[2] for base in BASES)}, and no reward function, which has a "
            "parameter `completions` or `completion_ids`"
        )
    return objects


def _classes(module: ModuleType) -> Iterator[tuple[str, str, type]]:
    own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    for thing in own:
        kind, name = kind_of(thing), name_of(thing)
        missing = ", ".join(sorted(getattr(thing, "__abstractmethods__", ())))
        is_base = any(thing in other.__mro__[1:] for other in own)  # of others in the file
        if kind is None or (is_base and (missing or name is None)):
            continue
        where = f"{place_of(thing)}: {kind} {thing.__name__}"
        if missing:
            raise BadInput(f"{where} does not define {missing}, which every {kind} has")
        if name is None:
            word = 'name: str = "..."' if kind == "task" else 'name = "..."'
            raise BadInput(f"{where} has no name for recipes to call it by; write {word} into the class")
        yield kind, name, thing


def _functions(module: ModuleType, imported: Collection[str]) -> Iterator[tuple[str, str, Any]]:
    """Functions that TRL would call, by the names that the file gives them; or made by a factory or `partial`."""
    for name, thing in vars(module).items():
        own = name not in imported or getattr(thing, "__module__", None) == module.__name__
        if name[0] == "_" or not own or inspect.isclass(thing) or not callable(thing):
            continue
        try:
            parameters = inspect.signature(thing).parameters
        except (TypeError, ValueError):
            continue
        if not parameters.keys().isdisjoint(("completions", "completion_ids")):
            yield FUNCTION, name, thing


def _bound_by_imports(source: bytes) -> set[str]:
    """Names that imports of a text bind, rather than the text itself."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.asname or alias.name.partition(".")[0] for node in nodes for alias in node.names}
