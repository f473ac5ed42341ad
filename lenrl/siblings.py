"""Modules beside a plug-in file that it imports: found by reading its text, and imported as they were read.

A run keeps them with the plug-in, and a worker gets them with it. Standard library only.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from lenrl.errors import BadInput


def read(file: Path, source: bytes) -> dict[str, bytes]:
    """Texts of the modules in a file's folder that it imports, and that those import, by file name.

    Raises:
        BadInput: one has the name of a module that is installed.
    """
    found: dict[str, bytes] = {}
    unread = [source]
    while unread:
        for module in _imported(unread.pop()):
            beside = file.with_name(f"{module}.py")
            if beside.name in found or beside == file or not beside.is_file():
                continue
            if other := _elsewhere(module, beside):
                raise BadInput(
                    f"--plugin {file}: it imports {module}, which is {other}, and {beside} stands beside it; rename "
                    "that file, so that it is clear which one is meant"
                )
            found[beside.name] = beside.read_bytes()
            unread.append(found[beside.name])
    return dict(sorted(found.items()))


def keep(owner: Path, texts: Mapping[str, bytes]) -> None:
    """Have imports give these modules, as they are here; former ones of the same plug-in are forgotten.

    Args:
        owner: the plug-in's file; they stand beside it.
        texts: by file name.

    Raises:
        BadInput: another plug-in has a module of the name with another text.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for name, text in texts.items():
        other = _finder.kept.get(Path(name).stem)
        if other is not None and other.owner.name != owner.name and other.text != text:
            raise BadInput(
                f"--plugin {owner}: it imports {owner.with_name(name)}, and {other.owner} another module of that name, "
                f"{other.path}; rename one"
            )
    for module in [m for m, other in _finder.kept.items() if other.owner.name == owner.name]:
        del _finder.kept[module]
        sys.modules.pop(module, None)
    for name, text in texts.items():
        _finder.kept.setdefault(Path(name).stem, _Kept(owner, owner.with_name(name), text))


@dataclass(frozen=True)
class _Kept(SourceLoader):
    """A module's text, which is run instead of what its file holds by then."""

    owner: Path
    path: Path
    text: bytes

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: Any) -> bytes:
        return self.text


class _Finder(MetaPathFinder):
    """Finds the modules that are kept."""

    def __init__(self) -> None:
        self.kept: dict[str, _Kept] = {}  # by the module's name

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        kept = self.kept.get(fullname)
        return kept and importlib.util.spec_from_file_location(fullname, kept.path, loader=kept)


_finder = _Finder()


def _imported(source: bytes) -> Iterator[str]:
    """Names of the top-level modules that a text imports anywhere; none of a text that is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # importing it says so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _elsewhere(module: str, beside: Path) -> str | None:
    """The place of a module of that name which is not the file beside; None: there is no other."""
    if module in sys.stdlib_module_names:
        return "Python's own"
    if module in _finder.kept:
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # a module without a spec
        return "loaded already"
    if spec is None or (spec.origin and Path(spec.origin).resolve() == beside.resolve()):
        return None
    return str(spec.origin)
