"""Calls of a method's reward functions in training, and a look at what comes of them."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lenrl.evaluation import by_function
from lenrl.rollouts import Rollouts, Verdict
from lenrl.strategies.base import PromptBudget
from lenrl.strategies.functions import FunctionInputs, call
from lenrl.strategies.method import Method
from lenrl.tasks.base import Task
from lenrl.tasks.problem import Problem
from lenrl.training.trl_batch import TrlRow

log = logging.getLogger("lenrl")

ALL_ZERO = 5  # rollouts in a row after which a function that gives nothing but 0 is warned of


@dataclass(frozen=True)
class RewardCalls:
    """This process's rows of a generation batch, or of an evaluation, as functions see them.

    `texts` and `ids` are those of the completions as they are kept, after a cut too.
    """

    method: Method
    task: Task
    rows: Sequence[TrlRow]
    problems: Sequence[Problem]
    prompt_budgets: Sequence[PromptBudget]
    texts: list[str]
    ids: list[Sequence[int]]
    trainer_state: Any = None
    metrics: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # of `log_metric`
    extras: dict[str, list[Any]] = field(default_factory=dict)  # of `log_extra`, a value a row

    def judged(self, verdicts: Sequence[Verdict], places: Sequence[int]) -> list[Verdict]:
        """The verifier's verdicts of some rows, with those of the function that gives the verdict in their place."""
        judge = self.method.judge
        if judge is None or not places:
            return list(verdicts)
        return by_function.judged(judge, self._inputs(places), verdicts)

    def parts(self, nonfinite: Literal["fail", "drop"]) -> list[dict[str, float | None]]:
        """Values of the functions that are added, by name, a row each."""
        values = call(self.method.added, self._inputs(range(len(self.rows))), nonfinite)
        return [{name: column[row] for name, column in values.items()} for row in range(len(self.rows))]

    def _inputs(self, places: Sequence[int]) -> FunctionInputs:
        return FunctionInputs(
            prompts=[self.rows[i]["prompt"] for i in places],
            texts=[self.texts[i] for i in places],
            completion_ids=[self.ids[i] for i in places],
            columns=[
                by_function.columns_of(self.task, self.problems[i], self.prompt_budgets[i].columns)
                for i in places
            ],
            trainer_state=self.trainer_state,
            metrics=self.metrics,
            extras=self.extras if len(places) == len(self.rows) else {},
        )


@dataclass
class ZeroRewards:
    """Says of a function that it has given nothing but 0 in several rollouts in a row, once a leg of the run.

    The usual reason: completions are messages and it looks for text in them, or the other way round.
    """

    method: Method
    # Of each such rollout
    _completions: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def watch(self, rollouts: Rollouts, prompt: Any) -> None:
        """Look at a rollout; `prompt` is one as functions get it."""
        for function in self.method.functions:
            values_PG = rollouts.correct_PG if function.verdict else rollouts.parts[function.name]
            seen = self._completions[function.name]
            if bool((values_PG.nan_to_num(nan=0.0) != 0).any()):
                seen.clear()
                continue
            seen.append(values_PG.numel())
            if len(seen) == ALL_ZERO:
                given = (
                    "text"
                    if isinstance(prompt, str)
                    else "lists of messages, their text completion[0]['content']"
                )
                log.warning(
                    "%s has given 0 or None for each of the %d completions of %d rollouts: it teaches nothing. It gets "
                    "completions as %s. Repair it, or leave it out",
                    function.place,
                    sum(seen),
                    ALL_ZERO,
                    given,
                )
