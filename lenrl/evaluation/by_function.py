"""Verdicts by a reward function, in the place of the verifier's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lenrl.rollouts import Verdict
from lenrl.strategies.functions import FunctionInputs, RewardFunction, call
from lenrl.tasks import Problem, Task


def columns_of(task: Task, problem: Problem, given: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a row as functions get them: the data's, what it was `given`, and the gold answer.

    The answer goes by its column's name, and as `answer` if no column is called so.
    """
    column = getattr(task.part_of(problem), "answer", None)
    gold = {column: problem.answer} if isinstance(column, str) else {}
    return {"answer": problem.answer, **problem.columns, **given, **gold}


def judged(judge: RewardFunction, inputs: FunctionInputs, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with the function's word on what is right; None: nobody can say.

    Raises:
        PluginFailed: it raises, or gives other than 0, 1 or None a row.
    """
    values = call([judge], inputs)[judge.name]
    return [
        replace(verdict, correct=None, score=None, outcome="abstained")
        if value is None
        else replace(verdict, correct=value > 0, score=None, outcome="ok")
        for verdict, value in zip(verdicts, values, strict=True)
    ]
