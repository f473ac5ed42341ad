"""This process's completions of a generation batch: their verdicts, the values of reward functions, and their rows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lenrl.generation.sampling import completion_text
from lenrl.generation.thinking_steps import ThinkingSteps
from lenrl.generation.token_ends import token_ends
from lenrl.monitors.local import LocalMonitor
from lenrl.rollouts import StepScore, Verdict
from lenrl.strategies.method import Method
from lenrl.strategies.scoring import Row, carry
from lenrl.training.in_progress import InProgress
from lenrl.training.problem_set import ProblemSet
from lenrl.training.reward_calls import RewardCalls
from lenrl.verify.claims import PendingVerdicts


@dataclass
class Judging:
    """Judges completions and reads them into rows.

    `alone(name, work)` runs work of this process alone and is collective: an error is raised on every process.
    """

    method: Method
    problem_set: ProblemSet
    eos_ids: Sequence[int]  # end a completion
    monitor: LocalMonitor
    alone: Callable[[str, Callable[[], Any]], Any]
    _thinking: ThinkingSteps = field(init=False)

    def __post_init__(self) -> None:
        self._thinking = ThinkingSteps(self.problem_set.prompts.tokenizer, self.method.advantage.step_end)

    def text(self, ids: Sequence[int]) -> str:
        return completion_text(self.problem_set.prompts.tokenizer, ids, self.eos_ids)

    def calls(
        self, current: InProgress, completion_ids: Sequence[Sequence[int]], trainer_state: Any
    ) -> RewardCalls:
        """The completions, as reward functions see them."""
        with self.monitor.timed("verify"):
            return RewardCalls(
                self.method,
                self.problem_set.prompts.task,
                current.rows,
                [self.problem_set.asked(row) for row in current.rows],
                current.prompt_budgets,
                # the sampler's, if it was ours
                list(current.texts) or [self.text(ids) for ids in completion_ids],
                list(completion_ids),
                trainer_state,
            )

    def verdicts(
        self, calls: RewardCalls, places: Sequence[int], pending: PendingVerdicts | None = None
    ) -> list[Verdict]:
        """Verdicts of some rows; `pending`: their verification has begun."""
        texts, problems = [calls.texts[i] for i in places], [calls.problems[i] for i in places]

        def verdicts() -> list[Verdict]:
            if pending is None:
                return calls.judged(self.problem_set.verify(texts, problems), places)
            known = pending.verdicts()
            return calls.judged([known[place] for place in places], places)

        with self.monitor.timed("verify"):
            return self.alone("verification", verdicts)

    def parts(self, calls: RewardCalls, nonfinite: Literal["fail", "drop"]) -> list[dict[str, float | None]]:
        """Values of the reward functions that are added, by name, a row each."""
        with self.monitor.timed("verify"):
            return self.alone("reward functions", lambda: calls.parts(nonfinite))

    def rows(self, calls: RewardCalls, places: Iterable[int], verdicts: Sequence[Verdict]) -> list[Row]:
        """Some completions, each with all that this method's strategies may know of it; a verdict each of all."""
        return [self._row(calls, place, verdicts[place]) for place in places]

    def _row(self, calls: RewardCalls, place: int, verdict: Verdict) -> Row:
        problem, ids = calls.problems[place], calls.ids[place]

        def steps() -> tuple[StepScore, ...]:
            tokenizer = self.problem_set.prompts.tokenizer
            ends = token_ends(tokenizer, ids, self.eos_ids, [step.end for step in verdict.steps])
            return tuple(replace(step, end=end) for step, end in zip(verdict.steps, ends, strict=True))

        return Row(
            prompt_id=problem.id,
            length=len(ids),
            truncated=not ids or ids[-1] not in self.eos_ids,
            verdict=replace(verdict, steps=()),
            prompt_budget=calls.prompt_budgets[place],
            columns=problem.columns,
            carried=carry(
                self.method.reads,
                prompt=lambda: problem.prompt,
                gold=lambda: problem.answer,
                text=lambda: calls.texts[place],
                token_ids=lambda: tuple(ids),
                answer=lambda: verdict.answer,
                steps=steps,
                step_numbers=lambda: self._thinking.of(ids),
            ),
        )
