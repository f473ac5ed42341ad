"""A trained model asked with the words of its own budget, as in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

from lenrl.config.yaml_files import read_yaml
from lenrl.errors import BadInput
from lenrl.evaluation.controlled import Controlled
from lenrl.evaluation.results import HINT, ModelResults
from lenrl.evaluation.settings import EvalSettings
from lenrl.generation.controls import Control, ControlOptions, Thinking
from lenrl.generation.pretrained import find
from lenrl.strategies import registry
from lenrl.strategies.base import Budget, PromptBudget, RunInfo
from lenrl.strategies.faults import calling
from lenrl.tasks import Problem, Task, encode
from lenrl.tasks.prompts import Prompts

Ways = Mapping[str, Sequence[PromptBudget]]
"""Ways of asking, by name: a budget each problem."""


class Hint(Control):
    """Words of a budget; a control in the sense that the prompt alone is changed."""

    whole = True


@dataclass(frozen=True)
class Hinted(Controlled):
    """A model asked in one of its ways."""

    budgets: Mapping[str, PromptBudget]  # by problem

    def prompt_ids(self, task: Task, problem: Problem) -> list[int]:
        """The prompt with the budget's words."""
        tokenizer = self.thinking.info.tokenizer
        return encode(tokenizer, Prompts(task, tokenizer).chat(problem, self.budgets[problem.id]))


def ways_of(model: str, problems: Sequence[Problem]) -> Ways:
    """The ways in which the run that a model is of asked its problems; none: without words, or the model is of no run.

    Raises:
        BadInput: the run's recipe can't be read, its budget is no built-in one's and of no plug-in here, or the
            problems lack a column that it reads.
    """
    recipe = Path(find(model)).parent / "recipe.yaml"
    if not recipe.is_file():
        return {}
    values = read_yaml(recipe)
    try:
        spec, trainer = values["budget"], values["trainer"]
        run_info = RunInfo(1, trainer["max_completion_length"], trainer["max_steps"], training=False)
    except (KeyError, TypeError):
        raise BadInput(
            f"{recipe} is no run's recipe: it lacks a budget, a cap or a number of steps"
        ) from None
    budget = registry.build("budget", spec)
    assert isinstance(budget, Budget)
    columns = [budget.visible(p.columns, prompt=p.prompt, gold=p.answer) for p in problems]
    with calling(budget):
        ways = budget.ways([problem.id for problem in problems], columns, run_info)
    return {name: rows for name, rows in ways.items() if any(row.hint or row.system for row in rows)}


def hints_of(models: Sequence[str], problems: Sequence[Problem], settings: EvalSettings) -> list[Ways]:
    """The words of each model's own budget; none unless they are asked for.

    Raises:
        BadInput: they are, and no model has any.
    """
    if not settings.hints:
        return [{} for _ in models]
    found = [{} if settings.engine == "server" else ways_of(name, problems) for name in models]
    if not any(found):
        raise BadInput(
            f"hints=true: none of {', '.join(models)} was trained with words in its prompts; name the folder of a run "
            "with a budget such as levels, modes, draw or curriculum, or leave it out"
        )
    return found


def hinted(ways: Ways, problems: Sequence[Problem], thinking: Thinking, free: ModelResults) -> list[Hinted]:
    """A model whose results without words are `free`, in each of its ways, which `hint@NAME` labels."""
    ids = [problem.id for problem in problems]
    return [
        Hinted(
            Hint(f"{HINT}{name}", nan, ControlOptions()), thinking, free, dict(zip(ids, rows, strict=True))
        )
        for name, rows in ways.items()
    ]
