"""Reward functions called without a model: on completions written by hand."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lenrl.evaluation.by_function import columns_of
from lenrl.strategies.functions import FunctionInputs, call
from lenrl.strategies.method import Method
from lenrl.tasks import Problem, Task, messages

TRIED = 4  # problems


def parts(
    method: Method,
    task: Task,
    problems: Sequence[Problem],
    texts: Sequence[str],
    given: Sequence[Mapping[str, Any]] = (),
    *,
    nonfinite: Literal["fail", "drop"] = "fail",
) -> dict[str, list[float | None]]:
    """Values of the method's functions, of rows in conversational form; a token is a text's byte.

    Args:
        method: its functions are called, one that gives the verdict too.
        problems: a row each.
        given: further columns a row, of the budget.
        nonfinite: `guard.nonfinite`.

    Raises:
        PluginFailed, NonfiniteReward: as `call` does.
    """
    more = given or [{}] * len(problems)
    rows: Any = [messages(task, problem) for problem in problems]
    inputs = FunctionInputs(
        prompts=rows,
        texts=texts,
        completion_ids=[list(text.encode()) for text in texts],
        columns=[columns_of(task, p, m) for p, m in zip(problems, more, strict=True)],
    )
    return call(method.functions, inputs, nonfinite)


def tried(method: Method, task: Task, train: Sequence[Problem]) -> dict[str, object]:
    """Values of each function on the gold answers of training problems, by name.

    Raises:
        PluginFailed, NonfiniteReward: it could not be trained with.
    """
    problems = list(train[:TRIED])
    texts = [f"\\boxed{{{problem.answer}}}" if problem.answer else "" for problem in problems]
    values = parts(method, task, problems, texts)
    return {
        name: f"{', '.join('none' if v is None else f'{v:.3g}' for v in some)} on {len(some)} gold answers"
        for name, some in values.items()
    }
