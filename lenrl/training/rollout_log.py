"""Figures and completions of a finished generation batch, for the run's records."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lenrl.generation.token_ends import tokens_at_end
from lenrl.monitors.completion_table import completion_table
from lenrl.monitors.local import LocalMonitor, verifier_metrics
from lenrl.rollouts import Rollouts
from lenrl.strategies.groups import average
from lenrl.strategies.length_figures import thinking_figures
from lenrl.strategies.method import Method
from lenrl.training.distributed import ProcessGroup
from lenrl.training.guards import Guards
from lenrl.training.in_progress import InProgress
from lenrl.training.problem_set import ProblemSet
from lenrl.verify.extract import thinking_end
from lenrl.verify.shortcuts import HACKS, counted


@dataclass(frozen=True)
class RolloutLog:
    """Hands a batch to the monitor, with what all processes know of it; collective."""

    method: Method
    problem_set: ProblemSet
    eos_ids: Sequence[int]  # end a completion
    group: ProcessGroup
    monitor: LocalMonitor
    guards: Guards

    def record(
        self,
        batch: InProgress,
        advantage: Tensor,
        figures: dict[str, float | None],
        kept: Sequence[int],
    ) -> dict[str, float | None]:
        """Log a batch that has been scored; all its figures, with the guards' counters.

        Args:
            advantage: (P, G) or (P, G, T), of all processes.
            figures: what is known of it so far, by name.
            kept: groups that the update uses.
        """
        assert batch.scored is not None
        rollouts, reward = batch.scored.rollouts, batch.scored.reward
        figures = (
            figures | {"rewards_dropped": reward.dropped} | self._logged(batch) | self._by_part(rollouts)
        )
        if self.method.sampling.selects:
            figures |= {
                "sampling_factor": batch.factor,
                "prompts_sampled": rollouts.P,
                "prompts_kept": len(kept),
                "prompts_filled": batch.prompts - len(kept),
            }
        thinking = self._thinking(batch)
        figures |= self._counted(batch, rollouts.P * rollouts.G) | self._apart(batch, thinking)
        figures |= self.guards.count(figures, rollouts.P * rollouts.G)
        self.monitor.rollout(figures, sampled_tokens=int(rollouts.sampled_length_PG.sum()))
        if self.monitor.wants(batch.number):
            prompts = [self.problem_set.asked(row).prompt for row in batch.rows]
            answers = [verdict.answer for verdict in batch.verdicts]
            own = list(zip(prompts, batch.texts, answers, batch.prompt_budgets, strict=True))
            texts, extras = self.group.gather(own), self.group.gather(self._extras(batch))
            what = (batch.step, texts, rollouts, reward, advantage)
            more = {"kept": kept, "extras": extras, "thinking": self.group.gather(thinking)}
            self.monitor.completions(batch.step, lambda: completion_table(*what, **more))
        return figures

    def _counted(self, batch: InProgress, completions: int) -> dict[str, float | None]:
        """Counts of what the verifiers could not judge, and shares of the completions with each hack."""
        counts = self.problem_set.verifier.counts
        spent = {name: count - batch.counts[name] for name, count in counts.items()}
        answers = [verdict.answer for verdict in batch.verdicts]
        prefilled = self.problem_set.think_prefilled
        own = counted(batch.texts, answers, self._read(batch), think_prefilled=prefilled)
        everyone = self.group.gather([(spent, own)])
        verifier = verifier_metrics([spent for spent, _ in everyone])
        total = sum((own for _, own in everyone), Counter())
        return {
            **verifier,
            "verifier_failed_share": min(1.0, sum(verifier.values()) / completions),
            **{name: total[name] / completions for name in HACKS},
            "copied_share": total["copied"] / total["shown"] if total["shown"] else None,
        }

    def _thinking(self, batch: InProgress) -> list[int | None]:
        """Kept tokens of this process's completions up to the end of their thinking; None: one has none."""
        assert batch.calls is not None
        tokenizer, found = self.problem_set.prompts.tokenizer, []
        for ids, text in zip(batch.calls.ids, batch.texts, strict=True):
            end = thinking_end(text, think_prefilled=self.problem_set.think_prefilled)
            after = 0 if end is None else tokens_at_end(tokenizer, ids, self.eos_ids, len(text) - end)
            found.append(None if end is None else len(ids) - after)
        return found

    def _apart(self, batch: InProgress, thinking: Sequence[int | None]) -> dict[str, float | None]:
        """Mean tokens of thinking and of what comes after it, of all completions that have a thinking."""
        assert batch.calls is not None
        lengths = map(len, batch.calls.ids)
        own = [(n, length - n) for n, length in zip(thinking, lengths, strict=True) if n is not None]
        return thinking_figures(self.group.gather(own))

    def _read(self, batch: InProgress) -> list[str]:
        """All messages of each row's prompt, as one text."""
        texts: dict[tuple[str | None, ...], str] = {}  # once each: most of a group read the same
        keys = []
        for row, budget in zip(batch.rows, batch.prompt_budgets, strict=True):
            keys.append((row["prompt_id"], budget.hint, budget.system))
            if keys[-1] not in texts:
                chat = self.problem_set.prompts.chat(self.problem_set.asked(row), budget)
                texts[keys[-1]] = "\n".join(message["content"] for message in chat)
        return [texts[key] for key in keys]

    def _by_part(self, rollouts: Rollouts) -> dict[str, float | None]:
        """Accuracy and kept tokens of each part of a mix; None where no prompt of it was sampled."""
        problems = self.problem_set.problems
        sampled = [problems[prompt_id].part for prompt_id in rollouts.prompt_ids]
        figures: dict[str, float | None] = {}
        for part in self.problem_set.parts:
            rows = [p for p, name in enumerate(sampled) if name == part]
            correct, known = rollouts.correct_PG[rows], rollouts.known_PG[rows]
            figures[f"accuracy_{part}"] = average(correct, known) if rows else None
            figures[f"tokens_mean_{part}"] = rollouts.length_PG[rows].float().mean().item() if rows else None
        return figures

    def _logged(self, batch: InProgress) -> dict[str, float | None]:
        """Means over all processes of what reward functions logged by `log_metric`, as `logged_NAME`."""
        if not self.method.functions or batch.calls is None:
            return {}
        everyone = self.group.gather(list(batch.calls.metrics.items()))
        names = sorted({name for name, _ in everyone})
        values = {name: [v for other, some in everyone if other == name for v in some] for name in names}
        return {f"logged_{name}": sum(some) / len(some) for name, some in values.items()}

    def _extras(self, batch: InProgress) -> list[dict[str, Any]]:
        """Values of `log_extra`, the prompt as the model read it, and the gold answer, a row of this process."""
        columns = {} if batch.calls is None else batch.calls.extras
        rendered: dict[tuple[str | None, ...], str] = {}  # once each: most of a group read the same
        extras = []
        for i, (row, budget) in enumerate(zip(batch.rows, batch.prompt_budgets, strict=True)):
            read = row["prompt_id"], budget.hint, budget.system
            if read not in rendered:
                rendered[read] = self.problem_set.prompts.text(self.problem_set.asked(row), budget)
            logged = {name: values[i] for name, values in columns.items() if i < len(values)}
            gold = self.problem_set.asked(row).answer
            extras.append(logged | {"rendered": rendered[read], "gold": gold})
        return extras
