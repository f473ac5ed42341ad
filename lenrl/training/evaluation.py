"""Accuracy and tokens on the development problems, during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lenrl.generation.sampling import completion_text, sample
from lenrl.strategies.base import PromptBudget
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import Prompts
from lenrl.verify.pool import Claim, Verifier


class DueEvaluation:
    """Whether the evaluation of the last step was left by a signal: the next leg begins with it."""

    def __init__(self) -> None:
        self.due = False

    def state_dict(self) -> dict[str, bool]:
        """Plain JSON."""
        return {"due": self.due}

    def load_state_dict(self, state: Mapping[str, bool]) -> None:
        """Take over what the leg before left."""
        self.due = state["due"]


class DevEvaluation:
    """One sampled completion a development problem, shared out over the processes.

    The sampling noise is the same at every evaluation, so that two of them differ by the model alone.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        prompts: Prompts,
        budgets: Callable[..., list[PromptBudget]],
        verifier: Verifier,
        *,
        eos_ids: Sequence[int],
        think_prefilled: bool,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        top_k: int,
        batch_size: int,
        seed: int,
        rank: int,
        processes: int,
        alone: Callable[[str, Callable[[], list]], list],
    ) -> None:
        mine = slice(rank, None, processes)
        self.problems = problems[mine]
        self.prompts = prompts
        self.alone = alone  # runs what a process does by itself
        self.budgets = budgets
        self.tokenizer = prompts.tokenizer
        self.verifier = verifier
        self.eos_ids = list(eos_ids)
        self.think_prefilled = think_prefilled
        self.decoding: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "batch_size": batch_size,
            "seed": seed,
        }

    def __call__(self, model: Any, step: int, gather: Callable[[list], list]) -> dict[str, float]:
        """`accuracy` among known verdicts, mean `tokens`, `truncated_share`."""
        rows = gather(self.alone("evaluation", lambda: self._rows(model, step)))
        known = [correct for correct, _, _ in rows if correct is not None]
        return {
            "accuracy": sum(known) / len(known) if known else float("nan"),
            "tokens": sum(length for _, length, _ in rows) / len(rows),
            "truncated_share": sum(truncated for _, _, truncated in rows) / len(rows),
        }

    def _rows(self, model: Any, step: int) -> list[tuple[bool | None, int, bool]]:
        """(correct, tokens, truncated) of each of this process's problems."""
        names = [problem.id for problem in self.problems]
        prompt_budgets = self.budgets(names, [problem.columns for problem in self.problems], step=step)
        prompts = [self.prompts.ids(p, a) for p, a in zip(self.problems, prompt_budgets, strict=True)]
        found = sample(model, self.tokenizer, prompts, eos_ids=self.eos_ids, **self.decoding)
        claims = [
            Claim(completion_text(self.tokenizer, c.ids, self.eos_ids), problem.answer, self.think_prefilled)
            for c, problem in zip(found, self.problems, strict=True)
        ]
        verdicts = self.verifier.verify(claims)
        return [(v.correct, len(c.ids), c.truncated) for v, c in zip(verdicts, found, strict=True)]
