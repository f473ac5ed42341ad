"""The examples without a model: their own docstrings, reward functions, a task."""

import doctest
import importlib.util
import sys

import pytest

from lenrl import plugins, tasks
from lenrl.config import compose
from lenrl.tasks.chain import evaluate
from lenrl.verify.pool import Claim, Verifier
from lenrl.verify.settings import VerifierSettings
from tests.examples.outside import EXAMPLES


def composed(name, *overrides):
    folder = EXAMPLES / name
    return compose(str(folder / f"{name}.yaml"), list(overrides), [folder / f"{name}.py"])


@pytest.mark.parametrize("name", ["process_reward", "stateful_method", "unit_tests"])
def test_its_docstrings_hold(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / name / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    result = doctest.testmod(module)
    assert result.attempted > 2 and result.failed == 0


def test_functions_of_trl_and_of_one_s_own_are_named_parts():
    functions = {f.name: f for f in composed("trl_rewards").method.functions}
    assert {name: f.weight for name, f in functions.items()} == {"overlong": 0.5, "rechecks": -0.05}
    ids = [[7] * 60, [7] * 120, [7] * 181]
    assert functions["overlong"].function(completions=["", "", ""], completion_ids=ids) == [0.0, -0.5, -1.0]
    logged = {}
    counts = functions["rechecks"].function(
        completions=[[{"role": "assistant", "content": "Wait, Wait"}], "done"], log_metric=logged.__setitem__
    )
    assert (counts, logged) == ([2, 0], {"without_recheck": 0.5})


def test_a_task_s_problems_are_its_own_and_its_splits_share_none():
    composed("own_task")
    task = tasks.build({"name": "alternating", "terms": 5})
    splits = [task.problems(split) for split in ("train", "dev", "test")]
    assert [len(problems) for problems in splits] == [500, 50, 100]
    assert len({problem.id for problems in splits for problem in problems}) == 650
    assert all(str(evaluate(p.prompt)) == p.answer for problems in splits for p in problems)
    assert task.problems("train", 10) == splits[0][:10]
    with pytest.raises(ValueError, match="train=900: of 3 terms there are"):
        tasks.build({"name": "alternating", "terms": 3}).problems("train", 900)


@pytest.mark.parametrize(
    ("answer", "right"), [("2", True), ("12", True), ("-8", True), ("3", False), ("2.0", False)]
)
def test_its_verifier_takes_any_number_of_the_right_remainder(verifier, answer, right):
    [verdict] = verifier.verify([Claim(f"\\boxed{{{answer}}}", "2")])
    assert verdict.correct is right


@pytest.fixture(scope="module")
def verifier():
    plugins.load(EXAMPLES / "own_task" / "own_task.py")
    with Verifier(VerifierSettings.read({}, tasks.build("alternating").VERIFIER)) as verifier:
        yield verifier
