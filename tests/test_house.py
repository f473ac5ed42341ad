"""Rules of the library's layout that no linter knows, read from its source."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "lenrl"
FILES = sorted(LIBRARY.rglob("*.py"))
MOST_LINES = 60  # of a function
# A docstring begins with the noun or the verb of the thing, not with one of these.
QUESTIONS = ("What", "How", "Whether", "Where", "When", "Which")

# Files that share a name, and why: they are the same thing, or its equivalent in another package.
SAME = {
    "compare.py": "the verb, and its page; the comparison of two answers",
    "check.py": "the verb, and what it does",
    "score.py": "the verb, and what it does",
    "base.py": "the contracts of a package's plug-ins: strategies, engines",
    "settings.py": "a package's settings, as a recipe or a command gives them",
    "worker.py": "the process that a pool or a launcher starts",
    "trl.py": "TRL's loss as an objective, and a reward for TRL's own trainer",
}


def unique_names(folder, same):
    """Names that several files have, without packages, listed names, and one method's strategies in several slots."""
    places = defaultdict(list)
    for path in folder.rglob("*.py"):
        slot = path.is_relative_to(folder / "strategies") and path.parent != folder / "strategies"
        places[path.name].append("strategy" if slot else path.relative_to(folder).as_posix())
    return {
        name: paths
        for name, paths in places.items()
        if len(set(paths)) > 1 and name not in ("__init__.py", *same)
    }


def test_a_file_name_occurs_once():
    assert unique_names(LIBRARY, SAME) == {}


def test_the_list_of_shared_names_holds_no_others():
    assert set(SAME) <= set(unique_names(LIBRARY, ()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_functions_fit_a_screen_and_docstrings_begin_with_the_thing(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: n for f in functions if (n := f.end_lineno - f.lineno + 1) > MOST_LINES}
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    texts = [ast.get_docstring(node) or "" for node in (tree, *classes, *functions)]
    questions = [text.split("\n")[0] for text in texts if text.startswith(tuple(f"{w} " for w in QUESTIONS))]
    assert (long, questions) == ({}, [])


def test_the_one_warning_of_the_future_that_is_ignored_is_not_ours():
    names = re.compile(r"\.(is_gradient_checkpointing|gradient_checkpointing_(enable|disable))\b")
    assert [path.name for path in FILES if names.search(path.read_text(encoding="utf-8"))] == []
