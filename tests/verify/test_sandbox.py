"""Code that means harm, in the sandbox: nothing comes of it, and nothing of it is left."""

import os
import shutil
import socket
import subprocess
import sys

import pytest

from lenrl.verify import sandbox
from lenrl.verify.sandbox import SandboxLimits
from tests.launch.fakes import wait_for

LIMITS = SandboxLimits(seconds=1.5)
NAMESPACES = pytest.mark.skipif(sandbox.strongest() != "namespaces", reason="no namespaces for users here")
ISOLATIONS = [pytest.param("namespaces", marks=NAMESPACES), "audit"]


@pytest.fixture(autouse=True)
def left(tmp_path_factory, monkeypatch):
    """Pids of the sandbox's processes: command lines hold a path of this test's own. At its end there is none."""
    path = tmp_path_factory.mktemp("child") / "jail.py"
    shutil.copy(sandbox.CHILD, path)
    monkeypatch.setattr(sandbox, "CHILD", path)

    def processes():
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    found += [int(pid)] if str(path).encode() in file.read() else []
            except OSError:  # it has ended
                continue
        return found

    yield processes
    assert not processes(), "the sandbox has left a process behind"


@pytest.fixture(params=ISOLATIONS)
def call(request, left):
    """Calls of `f` in code that defines it."""

    def run(code, *arguments):
        calls = [("f", list(a)) for a in arguments or [()]]
        result = sandbox.run(code, calls, LIMITS, request.param)
        assert not left(), "the sandbox has left a process behind"
        return result

    return run


def test_values_come_back_and_the_library_is_there(call):
    code = """
import collections, dataclasses, datetime, decimal, functools, heapq, itertools, json, math, random, re, string, typing

@dataclasses.dataclass
class Pair:
    a: int
    b: int

def f(a, b):
    print("noise")
    return {"sum": Pair(a, b).a + b, "root": math.isqrt(b), "found": re.findall("o", "food"), "pair": (a, b)}
"""
    run = call(code, (1, 9), (2, "x"))
    assert run == ([[{"sum": 10, "root": 3, "found": ["o", "o"], "pair": [1, 9]}], None], False)


@pytest.mark.parametrize(
    "code",
    [
        "def f(: pass",
        "1 / 0",
        "def g(): return 1",
        "def f(): return {1, 2}",
        "def f(): raise SystemExit(0)",
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()",
        "def f():\n    x = []\n    for _ in range(10**5): x = [x]\n    return x",
        "def f(): return 10**20000",
        "def f(): return '7' * 2**21",
    ],
)
def test_no_value_is_no_value(call, code):
    assert call(code).values == [None]


def test_an_exit_in_one_call_leaves_the_values_before_it(call):
    code = "import os\ndef f(x):\n    if x == 2: os._exit(0)\n    return x"
    assert call(code, (1,), (2,), (3,)).values == [[1], None, None]


STUBBORN = """
import signal
for n in range(1, 32):
    try:
        signal.signal(n, signal.SIG_IGN)
    except OSError:
        pass
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""


@pytest.mark.parametrize("code", ["def f():\n    while True: pass", "import time\ntime.sleep(600)", STUBBORN])
def test_endless_code_ends_in_time(call, code):
    assert call(code) == ([None], True)


def test_memory_is_bounded(call):
    assert call("def f(): return len(bytearray(2**30))").values == [None]
    assert call("x = []\nwhile True: x.append(bytearray(2**20))").values == [None]
    assert call("def f(): return len(bytearray(2**25))").values == [[2**25]]


def test_what_is_written_to_the_channel_cannot_be_more_than_the_calls(call):
    code = """
import os
for n in range(3, 12):
    try: os.write(n, b'[9]\\n' * 5)
    except OSError: pass
def f(x): return 1
"""
    assert len(call(code, (1,), (2,)).values) == 2


def test_endless_output_is_cut_off(call):
    code = """
import os
def f():
    while True:
        for n in range(3, 12):
            try: os.write(n, b'x' * 65536)
            except OSError: pass
"""
    assert call(code).values == [None]


def test_the_json_of_the_sandbox_may_be_patched_to_no_avail(call):
    code = (
        "import json, builtins\njson.dumps = lambda *a, **k: 'true'\nbuiltins.print = exec\ndef f(): return 1"
    )
    assert call(code).values == [None]


def test_no_network(call):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        port = server.getsockname()[1]
        code = f"""
def f():
    import socket
    try:
        socket.create_connection(("127.0.0.1", {port}), 1)
    except OSError:
        return "refused"
    return "connected"
"""
        assert call(code).values in ([["refused"]], [None])
        with pytest.raises(TimeoutError):
            server.accept()


def test_no_file_outside(call, tmp_path):
    secret = tmp_path / "tests.jsonl"
    secret.write_text("42")
    for path in (tmp_path / "new", secret, "/new"):
        code = f"def f():\n    open({str(path)!r}, 'w').write('x')\n    return 1"
        assert call(code).values == [None]
    code = "def f(path): return open(path).read()"
    for path in (secret, "/etc/passwd", f"/proc/{os.getpid()}/environ", "/usr/lib/../../etc/passwd"):
        assert call(code, (str(path),)).values == [None]
    assert os.listdir(tmp_path) == ["tests.jsonl"] and secret.read_text() == "42"
    assert not os.path.exists("/new")


DYNAMIC = """
import importlib.machinery, importlib.util, os, sys
def f(name):
    [folder] = [path for path in sys.path if path.endswith("lib-dynload")]
    [file] = [f"{folder}/{file}" for file in os.listdir(folder) if file.startswith(f"{name}.")]
    loader = importlib.machinery.ExtensionFileLoader(f"x.{name}", file)
    importlib.util.module_from_spec(importlib.util.spec_from_file_location(f"x.{name}", file, loader=loader))
    return "loaded"
"""


@pytest.mark.parametrize(
    ("code", "argument"),
    [
        ("import __main__, os\n__main__.HARMLESS = type('All', (), {'__contains__': lambda *_: True})()\n"
         "def f(path): return os.system('touch ' + path)", "new"),
        ("import builtins, os, sys\nbuiltins.type = lambda x: str\n"
         "class Text(str):\n    def __add__(self, _): return sys.path[0] + '/'\n"
         "def f(path): return os.read(os.open(Text(path), 0), 9).decode()", "secret"),
        ("import __main__\ndef f(path): return [*map(str, (__main__.ctypes, __main__.libc))]", ""),
        ("import sys\ndef f(path): return [sys.modules['ctypes._endian'].__name__]", ""),
        ("import os\ndef f(path): os.mknod(path)", "new"),
        ("import os\ndef f(path): os.mkfifo(path)", "new"),
        (DYNAMIC, "_ctypes"), (DYNAMIC, "_posixsubprocess"),
        ("def f(path):\n    import _posixshmem\n    return 1", ""),
    ],
)  # fmt: skip
def test_the_audit_cannot_be_talked_out_of_it(tmp_path, code, argument):
    (tmp_path / "secret").write_text("s3cret")
    argument = str(tmp_path / argument) if argument in ("new", "secret") else argument
    assert sandbox.run(code, [("f", [argument])], LIMITS, "audit").values == [None]
    assert os.listdir(tmp_path) == ["secret"]


def test_the_environment_is_empty(call, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    [value] = call("import os\ndef f(): return dict(os.environ)").values
    assert value is not None and set(value[0]) <= {"LC_CTYPE"}


def test_a_fork_bomb_is_small_and_over(call):
    code = """
import os, time
made = 0
for _ in range(200):  # bounded, in case that nothing else bounds it
    try:
        pid = os.fork()
    except OSError:
        break
    if pid == 0:
        os.setsid()
        time.sleep(60)
        os._exit(0)
    made += 1
def f(): return made
"""
    assert call(code).values in ([[LIMITS.processes - 1]], [None])


def test_a_daemon_does_not_survive(call):
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import ctypes
        ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # no signal when its parent dies
        for _ in range(600): time.sleep(0.1)
    os._exit(0)
def f(): return 1
"""
    assert call(code).values in ([[1]], [None])


def test_it_kills_nobody(call):
    code = f"""
import os, signal
for pid in ({os.getpid()}, os.getppid(), 1):
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
def f(): return 1
"""
    assert call(code).values in ([[1]], [None])


@NAMESPACES
def test_namespaces_give_a_folder_of_bounded_size_in_memory():
    code = """
import os
def f(path, count):
    with open(path, "wb") as file:
        for _ in range(count): file.write(bytes(2**20))
    return os.listdir(".")
"""
    limits = SandboxLimits(file_mib=4)
    run = sandbox.run(code, [("f", ["a", 2]), ("f", ["b", 9]), ("f", ["/tmp/c", 3])], limits)
    assert run.values == [[["a"]], None, None]
    assert not os.path.exists("/tmp/c")


@NAMESPACES
def test_namespaces_leave_nothing_to_gain():
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def gains():
    return [
        getattr(libc, name)(*arguments)
        for name, *arguments in (
            ("unshare", 0x10000000),
            ("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, b""),
            ("mount", b"none", b"/", None, 4096 | 32, b""),
            ("chroot", b"/tmp"),
            ("umount2", b"/", 2),
            ("ptrace", 16, 1, 0, 0),
            ("sethostname", b"mine", 4),
        )
    ]
def sees():
    return os.listdir("/")
"""
    gains, sees = sandbox.run(code, [("gains", []), ("sees", [])], LIMITS).values
    assert gains == [[-1] * 7]
    assert sees is not None and not {"proc", "etc", "home", "sys", "dev", "var"} & set(sees[0])


def test_it_ends_with_the_process_that_started_it(left):
    code = f"""
from pathlib import Path
from lenrl.verify import sandbox
sandbox.CHILD = Path({str(sandbox.CHILD)!r})
sandbox.run("while True: pass", [], sandbox.SandboxLimits(seconds=10), sandbox.strongest())
"""
    with subprocess.Popen([sys.executable, "-c", code]) as starter:
        wait_for(lambda: len(left()) >= 3, 60)
        starter.kill()
    wait_for(lambda: not left(), 5)


def test_a_machine_without_namespaces_is_told_apart(monkeypatch):
    sandbox.CHILD.write_text(sandbox.CHILD.read_text().replace('call("unshare", ', 'call("unshare", ~'))
    with pytest.raises(sandbox.SandboxFault, match="unshare: Invalid argument"):
        sandbox.run("", [])
    sandbox.strongest.cache_clear()
    assert sandbox.strongest() == "audit"
    sandbox.strongest.cache_clear()
