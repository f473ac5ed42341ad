"""Every generator of reasoning-gym is a task by name, and its own gold answers are right."""

import json
from decimal import Decimal

import pytest

from lenrl.cli.eval import divide
from lenrl.errors import BadInput
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.settings import EvalSettings
from lenrl.tasks import GymTask, build
from lenrl.verify import gym_scorer as gym

factory = pytest.importorskip("reasoning_gym.factory")

# Any valid solution is right, and none is given: only wrong answers can be tried here.
WITHOUT_ANSWER = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
MIXES_OTHERS = {"composite"}  # takes objects as options; name its parts one by one
TAKES_ANY_TEXT_FOR_NO = {"game_of_life_halting"}


def test_the_exceptions_exist():
    assert factory.DATASETS.keys() > WITHOUT_ANSWER | MIXES_OTHERS | TAKES_ANY_TEXT_FOR_NO
    for config in ({}, {"datasets": [{"name": "chain_sum", "weight": 1.0}]}):
        with pytest.raises(BadInput, match="refused by generator 'composite'"):
            GymTask(generator="composite", test=1, config=config).problems("test")


@pytest.mark.parametrize("name", sorted(factory.DATASETS.keys() - MIXES_OTHERS))
def test_a_generators_own_answer_is_right_and_another_is_wrong(name):
    [problem] = GymTask(generator=name, test=1).problems("test")
    assert problem.prompt and problem.answer and gym.known(problem.answer)
    answer = json.loads(problem.answer)["entry"]["answer"]
    assert (answer is None) == (name in WITHOUT_ANSWER)
    if answer is not None:
        assert gym.score(str(answer), problem.answer) == (True, True)
    if name not in TAKES_ANY_TEXT_FOR_NO:
        assert gym.score("no answer at all", problem.answer)[0] is False
    assert gym.score(None, problem.answer) == (False, False)


def test_a_scorer_reads_its_generators_options():
    """That of decimal arithmetic allows an error in the last of the places asked for, by default three."""
    config = {"min_num_decimal_places": 1, "max_num_decimal_places": 1}
    [problem] = GymTask(generator="decimal_arithmetic", test=1, config=config).problems("test")
    assert problem.answer is not None
    gold = json.loads(problem.answer)
    near = str(Decimal(gold["entry"]["answer"]) + Decimal("0.05"))
    assert gym.score(near, problem.answer) == (True, True)
    assert gym.score(near, json.dumps(gold | {"config": {}})) == (False, True)


def test_a_generator_is_evaluated_by_name():
    words = ["task=gym", "task.generator=leg_counting", "task.test=4"]
    task = divide(["tiny", *words])[1]
    assert build(task).name == "gym"
    [entry] = evaluate(["tiny"], task, EvalSettings(max_new_tokens=16, verifier={"workers": 1}))["models"]
    assert (entry["task"], entry["prompts"], entry["unknown"]) == ("leg_counting", 4, 0)
    assert "reasoning-gym" in entry["fingerprint"]["versions"]
    assert entry["fingerprint"]["verifier"]["kind"] == "gym"
