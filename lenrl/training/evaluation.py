"""Accuracy and tokens on the development problems and on other data, during training."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lenrl import tasks
from lenrl.evaluation.measure import measure
from lenrl.evaluation.results import ModelResults
from lenrl.evaluation.tellings import bases_of
from lenrl.generation.base import Batches, Decoding
from lenrl.generation.pretrained import TokenizerInfo
from lenrl.generation.transformers_engine import TransformersEngine
from lenrl.rollouts import Verdict
from lenrl.strategies.base import PromptBudget, RunInfo
from lenrl.strategies.faults import calling
from lenrl.strategies.method import Method
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import Prompts
from lenrl.training.reward_calls import RewardCalls
from lenrl.verify.claims import AnyVerifier

FIGURES = ("accuracy", "tokens", "truncated_share", "aes")  # of each evaluation, after its prefix


Row = tuple[bool | None, int, bool, str, str]  # correct, tokens, truncated, part, the problem's id


@dataclass(frozen=True)
class EvaluationInTraining:
    """Sampled completions of the problems of one set, shared out over the processes.

    The sampling noise is the same at every evaluation, so that two of them differ by the model alone.
    """

    problems: Sequence[Problem]  # of all processes
    prompts: Prompts
    method: Method | None  # its budget adds to the prompts, its function may judge; None: nothing is added
    verifier: AnyVerifier
    decoding: Decoding
    run_info: RunInfo
    share: slice  # of the problems that is this process's
    info: TokenizerInfo
    batches: Batches
    alone: Callable[[str, Callable[[], list]], list]  # runs what a process does by itself
    trainer_state: Callable[[], Any]  # transformers' own, for functions
    # Takes the step, the rows of all processes and, where problems are told again, their bases
    record: Callable[[int, list[Row], Mapping[str, str]], None] | None = None

    def __call__(self, model: nn.Module, step: int, gather: Callable[[list], list]) -> dict[str, float]:
        """`accuracy` among known verdicts, mean `tokens`, `truncated_share`; of a mix also `PART_accuracy`, ..."""
        rows = gather(self.alone("evaluation", lambda: self._rows(model, step)))
        if self.record is not None:
            names = [problem.id for problem in self.problems]
            self.record(step, rows, dict(zip(names, bases_of(self.problems) or (), strict=False)))
        figures = _figures(rows)
        for part in tasks.by_part(self.problems):
            if part:
                own = _figures([row for row in rows if row[3] == part])
                figures |= {f"{part}_{name}": value for name, value in own.items()}
        return figures

    def _rows(self, model: nn.Module, step: int) -> list[Row]:
        """(correct, tokens, truncated, part, id) of each completion of this process's problems.

        Every process samples for as many problems: each forward pass may be one for all of them (ZeRO-3, FSDP).
        Those that fill it up are not counted.
        """
        own = self.problems[self.share]
        most = len(self.problems[:: self.share.step])  # the first share is never smaller than another
        problems = [*own, *self.problems[: most - len(own)]]
        added = self._added(problems, step)
        prompts = [self.prompts.ids(p, a) for p, a in zip(problems, added, strict=True)]
        engine = TransformersEngine("the model in training", self.info, model)
        results = measure(engine, problems, prompts, self.decoding, self.verifier, batches=self.batches)
        samples = range(self.decoding.samples)
        asked = [(p, a or PromptBudget()) for p, a in zip(problems, added, strict=True) for _ in samples]
        verdicts = self._judged(results, asked)
        rows = [
            (verdict.correct, len(completion.ids), completion.truncated, problem.part, problem.id)
            for verdict, completion, (problem, _) in zip(verdicts, results.completions, asked, strict=True)
        ]
        return rows[: len(own) * len(samples)]

    def _judged(
        self, results: ModelResults, asked: Sequence[tuple[Problem, PromptBudget]]
    ) -> Sequence[Verdict]:
        """The verdicts, by the method's function where it has one for them."""
        if self.method is None or self.method.judge is None:
            return results.verdicts
        rows: list[Any] = [{"prompt": self.prompts.for_trl(*each)} for each in asked]
        calls = RewardCalls(
            self.method,
            self.prompts.task,
            rows,
            [problem for problem, _ in asked],
            [budget for _, budget in asked],
            list(results.texts),
            [completion.ids for completion in results.completions],
            self.trainer_state(),
        )
        return calls.judged(results.verdicts, range(len(rows)))

    def _added(self, problems: Sequence[Problem], step: int) -> Sequence[PromptBudget | None]:
        """Additions of the budget to each prompt."""
        if self.method is None:
            return [None] * len(problems)
        budget = self.method.budget
        names, visible = [problem.id for problem in problems], budget.visible
        columns = [visible(p.columns, prompt=p.prompt, gold=p.answer) for p in problems]
        with calling(budget):
            return budget.evaluation(names, columns, step, self.run_info)


def _figures(rows: Sequence[Row]) -> dict[str, float]:
    known = [correct for correct, *_ in rows if correct is not None]
    return {
        "accuracy": sum(known) / len(known) if known else math.nan,
        "tokens": sum(length for _, length, *_ in rows) / len(rows),
        "truncated_share": sum(truncated for _, _, truncated, *_ in rows) / len(rows),
    }


@dataclass(frozen=True)
class EvaluationsInTraining:
    """Every evaluation of a run: of the development problems under no name, of other data under their own."""

    by_name: Mapping[str, EvaluationInTraining]

    def __call__(self, model: nn.Module, step: int, gather: Callable[[list], list]) -> dict[str, float]:
        """The figures of each: `accuracy`, ..., and `NAME_accuracy`, ..."""
        return {
            f"{name}_{figure}" if name else figure: value
            for name, evaluation in self.by_name.items()
            for figure, value in evaluation(model, step, gather).items()
        }
