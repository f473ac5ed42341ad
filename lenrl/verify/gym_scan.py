"""A look at reasoning-gym's scorers: which of them may evaluate text, found in their source without running it."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from types import FunctionType
from typing import Any

LIBRARY = "reasoning_gym"
EVALUATORS = frozenset(
    "eval exec compile __import__ parse_expr sympify literal_eval lambdify parse_latex latex2sympy pickle marshal "  # noqa: SIM905
    "subprocess importlib system popen Popen getattr globals vars".split()
)
HARMLESS = frozenset({("re", "compile")})


@lru_cache(maxsize=256)
def evaluators(dataset: type) -> tuple[str, ...]:
    """Names in a data set's scorer, and in all of the library's code that it can reach, that may run text.

    Code without a source counts as such a name; so does any mention, called or not.
    """
    todo, seen, found = [dataset.score_answer], set(), set()  # type: ignore[attr-defined]
    while todo:
        function = inspect.unwrap(todo.pop())
        if function in seen or function.__code__.co_filename == "<string>":  # a dataclass's own
            continue
        seen.add(function)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError, SyntaxError):
            found.add(f"{function.__qualname__} without source")
            continue
        for node in ast.walk(tree):
            reached = list(_functions(node, function, dataset))
            todo += reached
            if not reached and (name := _evaluator(node, function)) is not None:
                found.add(f"{name} in {function.__qualname__}")
    return tuple(sorted(found))


def _evaluator(node: ast.AST, function: FunctionType) -> str | None:
    if isinstance(node, ast.Name):
        value = function.__globals__.get(node.id)
        name = node.id if value is None else getattr(value, "__name__", node.id)
        return node.id if {node.id, name} & EVALUATORS else None
    if isinstance(node, ast.Attribute) and node.attr in EVALUATORS:
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        return None if (owner, node.attr) in HARMLESS else node.attr
    return None


def _functions(node: ast.AST, function: FunctionType, dataset: type) -> Iterator[FunctionType]:
    """Functions of the library that a name, or an attribute of the data set, means."""
    if isinstance(node, ast.Attribute):
        yield from _own(inspect.getattr_static(dataset, node.attr, None))
    elif isinstance(node, ast.Name):
        value = function.__globals__.get(node.id)
        yield from _own(value)
        if isinstance(value, type) and value.__module__.startswith(LIBRARY):
            for member in vars(value).values():
                yield from _own(member)


def _own(value: Any) -> Iterator[FunctionType]:
    value = getattr(value, "__func__", value)
    if isinstance(value, FunctionType) and value.__module__.startswith(LIBRARY):
        yield value
