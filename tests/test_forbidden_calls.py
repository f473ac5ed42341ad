"""Calls that the library makes nowhere, or where it says why, found in its source."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "lenrl"
FILES = sorted(LIBRARY.rglob("*.py"))

FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "input", "os.system", "os.popen", "os.startfile", "pickle.load",
    "pickle.loads", "pickle.Unpickler", "pandas.read_pickle", "dill.load", "dill.loads", "cloudpickle.load",
    "cloudpickle.loads", "marshal.load", "marshal.loads", "shelve.open", "yaml.load", "yaml.full_load",
    "yaml.full_load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.load_all", "joblib.load", "tempfile.mktemp",
    "sympy.sympify", "sympy.parse_expr", "sympy.parsing.sympy_parser.parse_expr", "sympy.S", "sympy.lambdify",
    "ast.literal_eval", "torch.hub.load", "torch.jit.load", "runpy.run_path", "runpy.run_module", "code.interact",
    "subprocess.getoutput", "subprocess.getstatusoutput", "rich.console.Console", "builtins.eval", "builtins.exec",
}  # fmt: skip
ALLOWED = {
    ("cli/option_words.py", "ast.literal_eval"): "a constant of our own source",
    (
        "cli/option_words.py",
        "yaml.load",
    ): "with the safe loader that is written in C, ten times as fast after a tab",
    ("plugins.py", "exec"): "a file that the user named on the command line",
    ("plugins.py", "compile"): "the same",
    ("verify/jail.py", "exec"): "a model's code, in a process that has given up its rights",
    ("verify/jail.py", "compile"): "the same",
    (
        "verify/gym_own.py",
        "ast.literal_eval",
    ): "a gold entry's list of numbers, in a worker: builds values, calls nothing",
}
# Calls that need an option, or may not have it: the option, its safe value, and whether that is the default.
SAFELY = {
    "torch.load": ("weights_only", True, False),
    "numpy.load": ("allow_pickle", False, True),
    **{
        f"subprocess.{name}": ("shell", False, True)
        for name in ("run", "Popen", "call", "check_call", "check_output")
    },
}


def calls(tree):
    """Calls of a source: the dotted name under which it was imported, and the keywords with their values."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            named = {k.arg: getattr(k.value, "value", k.value) for k in node.keywords}
            first, dot, rest = ast.unparse(node.func).partition(".")
            yield known.get(first, first) + dot + rest, named


def forbidden(path, tree):
    """Names of calls that are forbidden in the file."""
    for name, named in calls(tree):
        if name in FORBIDDEN and (path, name) not in ALLOWED:
            yield name
        if named.get("trust_remote_code") is True:
            yield f"{name} with trust_remote_code=True"
        if name in SAFELY:
            option, safe, by_default = SAFELY[name]
            if named.get(option, safe if by_default else None) is not safe:
                yield f"{name} without {option}={safe}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_nothing_runs_text_unpickles_or_starts_a_shell(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(forbidden(path.relative_to(LIBRARY).as_posix(), tree)) == []


def test_every_exception_is_one():
    made = {
        (path.relative_to(LIBRARY).as_posix(), name)
        for path in FILES
        for name, _ in calls(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert ALLOWED.keys() <= made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("eval(x)", True), ("yaml.load(f)", True), ("yaml.safe_load(f)", False), ("torch.load(p)", True),
        ("torch.load(p, weights_only=True)", False), ("torch.load(p, weights_only=False)", True),
        ("re.compile(x)", False),
        ("subprocess.run(x, shell=True)", True), ("subprocess.run(x)", False), ("pickle.loads(x)", True),
        ("import numpy as np\nnp.load(x, allow_pickle=True)", True), ("import numpy as np\nnp.load(x)", False),
        ("model.eval()", False), ("from pickle import loads as read\nread(x)", True), ("marshal.loads(x)", True),
        ("from subprocess import run\nrun(x, shell=option)", True), ("subprocess.call(x, shell=True)", True),
        ("from sympy import S\nS(x)", True), ("AutoModel.from_pretrained(x, trust_remote_code=True)", True),
        ("AutoModel.from_pretrained(x, trust_remote_code=options.trust)", False), ("shelve.open(x)", True),
        ("import pandas as pd\npd.read_pickle(x)", True), ("joblib.load(x)", True), ("os.system(x)", True),
    ],
)  # fmt: skip
def test_the_scan_finds_them(text, found):
    assert bool(list(forbidden("any.py", ast.parse(text)))) is found
