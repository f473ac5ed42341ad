"""The example of unit tests as verifier: right and wrong code, hostile code, a short run from another folder."""

import json
import logging

import pytest

from lenrl import plugins
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings
from tests.examples.outside import EXAMPLES

FOLDER = EXAMPLES / "unit_tests"
TESTS = [
    {"call": "double", "arguments": [2], "returns": 4},
    {"call": "double", "arguments": [-3], "returns": -6},
]
RIGHT = "def double(n):\n    return 2 * n"
HOSTILE = {
    "prints": "print('all tests passed')",
    "exits": "import sys\nsys.exit(0)",
    "leaves": "import os\nos._exit(0)",
    "loops": "while True: pass",
    "equals all": "class A(int):\n    __eq__ = lambda *_: True\ndef double(n): return A(7)",
    "patches": "import builtins, json\nbuiltins.all = lambda _: True\njson.dumps = str\ndef double(n): return 0",
    "kills": "import os\nos.kill(os.getppid(), 9)",
    "reads": "import gc\ndef double(n): return [o for o in gc.get_objects() if 'returns' in str(o)]",
    "hoards": "x = [0] * 10**9\ndef double(n): return 2 * n",
    "writes": "import os\nfor n in range(20):\n    try: os.write(n, b'[4]\\n[7]\\n')\n    except OSError: pass",
}


def completion(code):
    return f"<think>\n```python\nnot this one\n```\n</think>\nHere it is.\n```python\n{code}\n```\n"


@pytest.fixture(scope="module")
def verifier():
    plugins.load(FOLDER / "unit_tests.py")
    with Verifier(VerifierSettings.read({"kind": "unit_tests", "limits": {"seconds": 1.5}})) as verifier:
        yield verifier


def test_verdicts_are_the_share_of_tests_that_pass(verifier):
    texts = [
        completion(RIGHT),
        completion("def double(n):\n    return n * n"),
        "\\boxed{4}",
        "```python\n" + RIGHT,
    ]
    whole, half, none, open_ended = verifier.verify(
        [Claim(text, None, columns={"tests": TESTS}) for text in texts]
    )
    assert (whole.correct, whole.score) == (True, 1.0)
    assert (half.correct, half.score) == (False, 0.5)
    assert (none.correct, none.formatted) == (open_ended.correct, open_ended.formatted) == (False, False)
    [unknown] = verifier.verify([Claim(completion(RIGHT), None, columns={"tests": None})])
    assert unknown.correct is None


def test_hostile_code_is_wrong_and_harms_no_other(verifier):
    texts = [completion(code) for code in HOSTILE.values()] + [completion(RIGHT)]
    verdicts = verifier.verify([Claim(text, None, columns={"tests": TESTS}) for text in texts])
    assert {
        name for name, verdict in zip(HOSTILE, verdicts, strict=False) if verdict.correct is not False
    } == set()
    assert verdicts[-1].correct and verifier.counts["restarts"] == 0


def test_its_tasks_can_be_solved(verifier):
    """A function that looks its values up is right, under the name that the prompt gives it."""
    rows = [json.loads(line) for line in (FOLDER / "tasks.jsonl").read_text().splitlines()]
    for row in rows:
        [name] = {test["call"] for test in row["tests"]}
        assert f"`{name}(" in row["prompt"]
        table = json.dumps({json.dumps(test["arguments"]): test["returns"] for test in row["tests"]})
        code = f"import json\ndef {name}(*a): return json.loads({table!r})[json.dumps(a)]"
        [verdict] = verifier.verify([Claim(completion(code), None, columns=row)])
        assert verdict.correct


def test_the_weaker_isolation_is_said(verifier, caplog):
    weak = plugins.find("verifier", "unit_tests", {})(isolation="audit")
    with caplog.at_level(logging.WARNING):
        weak.set_up()
    assert "audit hook alone" in caplog.text and "verifier.isolation=namespaces" in caplog.text
    assert weak.judge(completion(RIGHT), None, None, {"tests": TESTS}) == 1.0
    assert weak.judge(completion("import socket\n" + RIGHT), None, None, {"tests": TESTS}) == 0.0
