"""Unit tests as verifier: a completion is right where the function that it defines passes the tests of its row.

The code is hostile until proven otherwise. It runs in a sandbox (`lenrl.verify.sandbox`): a process of its own with
limits on time, memory, processes and files, without network. It sees the arguments of the tests and never the values
that are expected: what its functions return is compared here. Nothing that it prints, patches or forges counts.

`tasks.jsonl` holds a `prompt` and its `tests` a line: `{"call": "double", "arguments": [2], "returns": 4}`. A judgement
is the share of tests that pass; `verifier.threshold=0.5` calls half of them right, `reward=graded` pays the share.

    lenrl check unit_tests.yaml --plugin unit_tests.py
    lenrl train unit_tests.yaml --plugin unit_tests.py model.path=org/model

Take a model that writes code: the embedded reasoner, which is the default, knows digits and words of its own alone.
It gets everything wrong, and the run says so; it does show that all parts fit.
"""

import logging
import re
from typing import Literal

from lenrl.verify import sandbox
from lenrl.verify.base import Verdict, VerifierPlugin

BLOCK = re.compile(r"^```(?:python|py)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


class UnitTests(VerifierPlugin):
    """The last code block behind the thinking, held against the column `tests`."""

    name = "unit_tests"
    reads_columns = ("tests",)
    needs_gold = False
    timeout_s = 10.0  # above `limits.seconds`: the sandbox ends the code, not the pool the worker

    limits: sandbox.SandboxLimits = sandbox.SandboxLimits()
    isolation: Literal["strongest", "namespaces", "audit"] = "strongest"

    def set_up(self):
        if self.isolation != "namespaces" and self._isolation() == "audit":
            logging.getLogger("lenrl").warning(
                "unit_tests: candidates are isolated by an audit hook alone, which stops no determined attacker; run "
                "where users may make namespaces, and give verifier.isolation=namespaces to insist on them"
            )

    def judge(self, text, answer, gold, columns):
        tests = columns["tests"]
        if not tests:
            return None
        blocks = BLOCK.findall(text.rpartition("</think>")[2])
        if not blocks:
            return Verdict(False, None, formatted=False, score=0.0)
        calls = [(test["call"], test["arguments"]) for test in tests]
        run = sandbox.run(blocks[-1], calls, self.limits, self._isolation())
        passed = sum(same(value, [test["returns"]]) for value, test in zip(run.values, tests, strict=True))
        return passed / len(tests)

    def _isolation(self):
        return sandbox.strongest() if self.isolation == "strongest" else self.isolation


def same(value, expected):
    """JSON values are equal, and a truth value equals no number.

    >>> same([1, 2.0], [1, 2])
    True
    >>> same([True], [1])
    False
    >>> same({"a": [0]}, {"a": [False]})
    False
    """
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(map(same, value, expected))
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[key], expected[key]) for key in value)
    return value == expected and isinstance(value, bool) == isinstance(expected, bool)
