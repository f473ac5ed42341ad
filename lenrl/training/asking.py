"""The beginning of a generation batch: its prompts, and what the budget adds to each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from lenrl.generation.noise import rollout_keys
from lenrl.strategies.base import PromptBudget, RunInfo
from lenrl.strategies.method import Method
from lenrl.training.distributed import ProcessGroup
from lenrl.training.forced import ForcedTokens
from lenrl.training.in_progress import InProgress
from lenrl.training.problem_set import ProblemSet
from lenrl.training.selection import PromptCursor, prompts_to_sample
from lenrl.training.trl_batch import TrlRow


@dataclass(frozen=True)
class Asking:
    """Begins generation batches, with as many prompts as the sampling strategy wants; collective.

    `stage(name, work)` runs a strategy.
    """

    method: Method
    run_info: RunInfo
    problem_set: ProblemSet
    group: ProcessGroup
    cursor: PromptCursor  # gives the prompts where the sampling strategy decides which or how many
    stage: Callable[[str, Callable[[], Any]], Any]

    def begin(self, rows: Sequence[TrlRow], *, step: int, number: int) -> InProgress:
        """A batch of the data loader's rows, or of others in their place; with budgets' hints.

        Budgets see the whole generation batch in batch order, since some treat a group's members differently.
        `step`, `number`: see `InProgress`.
        """
        prompts = len(rows) * self.group.processes // self.num_generations
        factor, sampling = 1.0, self.method.sampling
        if sampling.selects or sampling.chooses:
            factor = self.method.factor()
            rows = self.stage("sampling", lambda: self._drawn(prompts, factor))
        counts = dict(self.problem_set.verifier.counts)
        everyone = self.group.gather([row["prompt_id"] for row in rows])
        asked = [self.problem_set.problems[name] for name in everyone]
        visible = self.method.budget.visible
        columns = [visible(p.columns, prompt=p.prompt, gold=p.answer) for p in asked]
        budgets = self.stage("budget", lambda: self.method.budgets(everyone, columns, step, self.run_info))
        longest = self.run_info.max_length
        cap = min(longest, max(longest if budget.cap is None else budget.cap for budget in budgets))
        local = budgets[self.group.local_slice(len(rows))]
        encode, prefilled = self.problem_set.prompts.tokenizer, self.problem_set.think_prefilled
        forced = ForcedTokens.of(local, encode, think_prefilled=prefilled)
        local = forced.counted(local)
        rows = [self._hinted(row, budget) for row, budget in zip(rows, local, strict=True)]
        keys = rollout_keys(everyone, self.cursor.seed, number)[self.group.local_slice(len(rows))]
        return InProgress(step, number, rows, local, cap, counts, factor, prompts, keys, forced)

    @property
    def num_generations(self) -> int:
        """G."""
        assert self.run_info.num_generations is not None
        return self.run_info.num_generations

    def _drawn(self, prompts: int, factor: float) -> list[TrlRow]:
        """This process's rows of the prompts that come next, so that `prompts` of them may be kept."""
        processes, G = self.group.processes, self.num_generations
        sampled = prompts_to_sample(prompts, factor, G, processes)
        names = [name for name in self.cursor.take(sampled) for _ in range(G)]
        local = names[self.group.local_slice(len(names) // processes)]
        asked = self.problem_set
        return cast(list[TrlRow], [asked.prompts.row(asked.problems[name]) for name in local])

    def _hinted(self, row: TrlRow, budget: PromptBudget) -> TrlRow:
        """A copy of a row, with the budget's words in its prompt."""
        if not (budget.hint or budget.system):
            return row.copy()
        return {**row, "prompt": self.problem_set.prompts.for_trl(self.problem_set.asked(row), budget)}
