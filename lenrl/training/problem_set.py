"""The training problems, with what a rollout needs to know of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lenrl.rollouts import Verdict
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import Prompts
from lenrl.training.trl_batch import TrlRow
from lenrl.verify.claims import AnyVerifier, Claim


@dataclass(frozen=True)
class ProblemSet:
    """The training problems, their prompts, and who judges answers to them."""

    problems: Mapping[str, Problem]  # by id; rows carry `prompt_id`
    prompts: Prompts
    verifier: AnyVerifier  # this process's
    think_prefilled: bool  # the chat template opens `<think>` itself

    @cached_property
    def parts(self) -> list[str]:
        """Names of the parts of a mix, in the data's order; none where the task is no mix."""
        return list(dict.fromkeys(p.part for p in self.problems.values() if p.part))

    def verify(self, texts: Sequence[str], problems: Sequence[Problem]) -> list[Verdict]:
        """Verdicts of completions, each of its own problem."""
        return self.verifier.verify(list(map(self.claim, texts, problems)))

    def claim(self, text: str, problem: Problem) -> Claim:
        """A completion, to be held against its problem's answer."""
        return Claim(text, problem.answer, self.think_prefilled, problem.judged_by, problem.part)

    def asked(self, row: TrlRow) -> Problem:
        """The problem of a row."""
        return self.problems[row["prompt_id"]]
