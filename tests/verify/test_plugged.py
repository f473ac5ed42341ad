"""Verifiers of one's own: judged in workers, within limits, their faults with file and line."""

import json
import logging
import os

import pytest

from lenrl import plugins
from lenrl.errors import BadInput, PluginFailed
from lenrl.tasks.problem import Problem
from lenrl.verdicts import StepScore
from lenrl.verify.kinds import KINDS
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings

FILE = '''
import asyncio, os, time
from lenrl.verify.base import StepScore, Verdict, VerifierPlugin


class Says(VerifierPlugin):
    """Does what the completion says."""

    name = "says_of_this_test"
    reads_columns = ("unit", "when", "prompt")
    timeout_s = 1.0
    memory_mib = 256
    scale: float = 1.0

    def judge(self, text, answer, gold, columns):
        if text == "loop":
            while True:
                pass
        if text == "sleep":
            time.sleep(60)
        if text == "memory":
            return len(bytearray(2**30)) > 0
        if text == "die":
            os._exit(3)
        if text == "raise":
            raise ValueError("no such thing")
        if text == "columns":
            return columns == {"unit": "m", "when": None, "prompt": "how long?"}
        if text == "process":
            return os.getpid() != int(gold)
        if text in ("of words", "of numbers"):
            return Verdict("yes") if text == "of words" else Verdict(True, 5)
        if text == "verdict":
            return Verdict(True, "mine", steps=(StepScore(0.5, 3),))
        return {"yes": True, "no": False, "half": 0.5 * self.scale, "unsure": None, "word": "word", "two": 2}[text]


class Many(VerifierPlugin):
    """Right where the completion is the gold answer; counts what it gets at once."""

    name = "many_of_this_test"
    timeout_s = 0.5

    def judge_batch(self, texts, answers, golds, columns):
        if "loop" in texts:
            while True:
                pass
        if "short" in texts:
            return [True]
        return [len(texts) / 100 if text == "count" else text == gold for text, gold in zip(texts, golds)]


HERE = []


class Server(VerifierPlugin):
    """Waits, as for a server, which answers five questions at once."""

    name = "server_of_this_test"
    needs_gold = False
    concurrency = 5
    timeout_s = 1.0

    async def judge(self, text, answer, gold, columns):
        if text == "raise":
            raise ConnectionError("refused")
        if text == "hang":
            await asyncio.sleep(60)
        if " of the five" in text:
            HERE.append(text)
            while len(HERE) % 5:
                await asyncio.sleep(0.01)
        return text.endswith("yes")


class Loads(VerifierPlugin):
    name = "loads_of_this_test"

    def set_up(self):
        raise OSError("no weights")

    def judge(self, text, answer, gold, columns):
        return True


class Gold(VerifierPlugin):
    name = "gold_of_this_test"

    def readable(self, gold):
        return gold.startswith("{")

    def judge(self, text, answer, gold, columns):
        return True
'''


@pytest.fixture(scope="module", autouse=True)
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "verifiers_of_this_test.py"
    path.write_text(FILE)
    plugins.load(path)
    return path


@pytest.fixture(scope="module")
def pool():
    """Verifiers by kind, whose workers live as long as the tests."""
    made = {}

    def verifier(name, **options):
        spec = {"kind": f"{name}_of_this_test", **options}
        key = json.dumps(spec)
        made[key] = made.get(key) or Verifier(VerifierSettings.read(spec))
        return made[key]

    yield verifier
    for verifier in made.values():
        verifier.close()


def verdicts(verifier, *texts, gold="1"):
    return verifier.verify([Claim(text, gold) for text in texts])


def test_judgements_become_verdicts(pool):
    yes, no, half, unsure = verdicts(pool("says"), "yes", "no", "half", "unsure")
    assert (yes.correct, no.correct, half.correct, unsure.correct) == (True, False, False, None)
    assert (yes.score, half.score, unsure.outcome) == (None, 0.5, "abstained")


def test_a_threshold_and_an_option_reach_the_worker(pool):
    [half] = verdicts(pool("says", threshold=0.25, scale=0.6), "half")
    assert half.correct and half.score == 0.3


def test_a_whole_verdict_may_be_given(pool):
    [verdict] = verdicts(pool("says"), "verdict")
    assert (verdict.correct, verdict.answer, verdict.steps) == (True, "mine", (StepScore(0.5, 3),))


def test_it_runs_in_a_worker_and_gets_the_columns_it_reads(pool):
    problem = Problem("1", "how long?", "1", columns={"unit": "m", "other": object()})
    claim = Claim("columns", problem.answer, columns=problem.judged_by)
    assert pool("says").verify([claim])[0].correct
    assert verdicts(pool("says"), "process", gold=str(os.getpid()))[0].correct


@pytest.mark.parametrize(
    ("text", "correct", "outcome"),
    [
        ("loop", False, "timeout"),
        ("sleep", False, "timeout"),
        ("memory", False, "memory"),
        ("die", None, "error"),
    ],
)
def test_limits_hold_and_others_are_judged_all_the_same(pool, text, correct, outcome):
    verifier = pool("says")
    bad, good = verdicts(verifier, text, "yes")
    assert (bad.correct, bad.outcome, good.correct) == (correct, outcome, True)


def test_an_exception_is_an_unknown_verdict_counted_and_said_once(pool, file, caplog):
    verifier = pool("says")
    before = verifier.counts["errors"]
    with caplog.at_level(logging.WARNING, "lenrl"):
        bad, good = verdicts(verifier, "raise", "yes")
        verdicts(verifier, "raise", "yes")
    assert (bad.correct, bad.outcome, good.correct) == (None, "error", True)
    assert verifier.counts["errors"] == before + 2
    line = FILE.splitlines().index('            raise ValueError("no such thing")') + 1
    [said] = caplog.messages
    assert f"ValueError: no such thing ({file}, line {line})" in said


def test_one_that_raises_on_everything_ends_the_run(pool, file):
    with pytest.raises(PluginFailed, match="on each of 8 completions") as fault:
        pool("says").verify([Claim("raise", str(i)) for i in range(8)])
    assert str(file) in str(fault.value)
    with pytest.raises(PluginFailed, match="ConnectionError: refused"):
        verdicts(Verifier(VerifierSettings.read({"kind": "server_of_this_test"})), "raise")


@pytest.mark.parametrize("text", ["word", "two"])
def test_a_value_that_is_no_judgement_ends_the_run(pool, text, file):
    with pytest.raises(PluginFailed, match=r"gave .*: a judgement is True or False, a number from 0 to 1"):
        verdicts(pool("says"), text, "yes")


@pytest.mark.parametrize("text", ["of words", "of numbers"])
def test_a_verdict_of_other_types_ends_the_run(pool, text):
    with pytest.raises(PluginFailed, match=r"gave Verdict.*: correct of a Verdict is True, False or None"):
        verdicts(pool("says"), text, "yes")


def test_a_batch_is_judged_together_and_one_that_hangs_alone(pool):
    counted = verdicts(pool("many"), *["count"] * 1, *map(str, range(9)))
    assert counted[0].score == 0.1 and counted[2].correct and not counted[3].correct
    assert [v.outcome for v in verdicts(pool("many"), "loop", "1")] == ["timeout", "ok"]
    with pytest.raises(PluginFailed, match="gave 1 judgements for 2 completions"):
        verdicts(pool("many"), "short", "1")


def test_async_ones_wait_together_by_the_clock_and_need_no_gold(pool):
    verifier = pool("server")
    texts = [f"{i} of the five: {('yes', 'no')[i % 2]}" for i in range(10)]
    judged = verifier.verify([Claim(text, None if i else "1") for i, text in enumerate(texts)])
    assert [verdict.correct for verdict in judged] == [text.endswith("yes") for text in texts]
    hung, good = verdicts(verifier, "hang", "yes")
    assert (hung.correct, hung.outcome, good.correct) == (None, "timeout", True)


def test_what_fails_at_set_up_ends_the_run_with_its_line(pool, file):
    line = FILE.splitlines().index('        raise OSError("no weights")') + 1
    with pytest.raises(PluginFailed, match=f"cannot be set up: OSError: no weights .{file}, line {line}"):
        verdicts(pool("loads"), "yes")


def test_gold_answers_are_any_text_unless_the_class_says_otherwise(pool):
    assert pool("says").readable(["1", "", None]) == [True, False, False]
    assert pool("gold").readable(["{}", "1"]) == [True, False]


def test_workers_run_the_text_that_was_loaded_whatever_becomes_of_the_file(tmp_path):
    path = tmp_path / "edited_of_this_test.py"
    text = FILE[: FILE.index("class Many")].replace("says_of", "edited_of")
    path.write_text(text)
    plugins.load(path)
    with Verifier(VerifierSettings.read({"kind": "edited_of_this_test"})) as verifier:
        path.write_text("1 / 0")
        assert verdicts(verifier, "yes")[0].correct


def test_limits_of_the_class_are_defaults():
    settings = VerifierSettings.read({"kind": "says_of_this_test"})
    assert (settings.timeout_s, settings.memory_mib, settings.workers) == (1.0, 256, 2)
    assert VerifierSettings.read({"kind": "says_of_this_test", "timeout_s": 3}).timeout_s == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "sais_of_this_test"}, "Did you mean verifier.kind=says_of_this_test"),
        ({"kind": "says_of_this_test", "scale": "x"}, "verifier.scale='x'"),
        ({"kind": "says_of_this_test", "skale": 1}, "verifier.skale=1.*Did you mean"),
        ({"kind": "says_of_this_test", "threshold": 2}, "verifier.threshold=2"),
    ],
)
def test_bad_settings_are_named(spec, message):
    with pytest.raises(BadInput, match=message):
        VerifierSettings.read(spec)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass", "neither judge nor judge_batch"),
        ("def judge(self, text): return True", r"judge must take \(self, text, answer, gold, columns\)"),
        (
            "timeout_s: float = 1.0\n    def judge(self, *a): return True",
            "'timeout_s' is one of every verifier",
        ),
    ],
)
def test_a_class_of_another_shape_is_refused_with_its_line(tmp_path, body, message):
    path = tmp_path / "shape_of_this_test.py"
    head = "from lenrl.verify.base import VerifierPlugin\n\n\nclass Bad(VerifierPlugin):\n    name = 'bad_of_this_test'"
    text = f"{head}\n    {body}\n"
    path.write_text(text)
    plugins.load(path)
    with pytest.raises(BadInput, match=message) as fault:
        VerifierSettings.read({"kind": "bad_of_this_test"})
    assert f"{path}, line 4" in str(fault.value)


def test_a_built_in_name_is_refused(tmp_path):
    path = tmp_path / "taken_of_this_test.py"
    path.write_text(FILE.replace("says_of_this_test", "math").replace("_of_this_test", "_taken"))
    plugins.load(path)
    with pytest.raises(BadInput, match="verifier 'math' exists already"):
        plugins.find("verifier", "math", KINDS)
