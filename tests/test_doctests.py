"""Every module of the library can be imported, and the examples in its docstrings give what they say."""

import doctest
import importlib

import pytest

from tests.test_house import FILES, LIBRARY


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name != "__main__.py"],
    ids=lambda path: path.relative_to(LIBRARY).as_posix(),
)
def test_a_module_imports_and_its_examples_hold(path):
    name = ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts).removesuffix(".__init__")
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0
    assert (found.attempted > 0) == (">>> " in path.read_text(encoding="utf-8"))
