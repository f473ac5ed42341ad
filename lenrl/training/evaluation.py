"""Accuracy and tokens on the development problems, during training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from lenrl.evaluation.measure import measure
from lenrl.generation.base import Batches, Decoding
from lenrl.generation.pretrained import TokenizerInfo
from lenrl.generation.transformers_engine import TransformersEngine
from lenrl.strategies.base import Budget, RunInfo
from lenrl.strategies.faults import calling
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import Prompts
from lenrl.verify.pool import Verifier


@dataclass(frozen=True)
class DevEvaluation:
    """One sampled completion a development problem, shared out over the processes.

    The sampling noise is the same at every evaluation, so that two of them differ by the model alone.
    """

    problems: Sequence[Problem]  # of this process
    prompts: Prompts
    budget: Budget
    run_info: RunInfo
    verifier: Verifier
    info: TokenizerInfo
    decoding: Decoding
    batches: Batches
    alone: Callable[[str, Callable[[], list]], list]  # runs what a process does by itself

    def __call__(self, model: nn.Module, step: int, gather: Callable[[list], list]) -> dict[str, float]:
        """`accuracy` among known verdicts, mean `tokens`, `truncated_share`."""
        rows = gather(self.alone("evaluation", lambda: self._rows(model, step)))
        known = [correct for correct, _, _ in rows if correct is not None]
        return {
            "accuracy": sum(known) / len(known) if known else float("nan"),
            "tokens": sum(length for _, length, _ in rows) / len(rows),
            "truncated_share": sum(truncated for _, _, truncated in rows) / len(rows),
        }

    def _rows(self, model: nn.Module, step: int) -> list[tuple[bool | None, int, bool]]:
        """(correct, tokens, truncated) of each of this process's problems."""
        names = [problem.id for problem in self.problems]
        visible = self.budget.visible
        columns = [visible(p.columns, prompt=p.prompt, gold=p.answer) for p in self.problems]
        with calling(self.budget):
            prompt_budgets = self.budget.evaluation(names, columns, step, self.run_info)
        prompts = [self.prompts.ids(p, a) for p, a in zip(self.problems, prompt_budgets, strict=True)]
        engine = TransformersEngine("the model in training", self.info, model)
        results = measure(engine, self.problems, prompts, self.decoding, self.verifier, batches=self.batches)
        return [
            (verdict.correct, len(completion.ids), completion.truncated)
            for verdict, completion in zip(results.verdicts, results.completions, strict=True)
        ]
