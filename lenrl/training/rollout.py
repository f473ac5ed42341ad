"""The way of a generation batch: budgets, verdicts, truncation, rewards, advantages. Knows no TRL and no trainer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lenrl.generation.base import Batches, CausalLM, Completion
from lenrl.generation.choice import TokenRule
from lenrl.generation.decoder import PromptRow
from lenrl.generation.sampling import sample_rows
from lenrl.monitors.local import LocalMonitor
from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.base import PromptBudget, RunInfo
from lenrl.strategies.diagnostics import diagnose
from lenrl.strategies.method import Method
from lenrl.strategies.scoring import Row, Scored, build_rollouts, score
from lenrl.training.asking import Asking
from lenrl.training.distributed import ProcessGroup, outcome
from lenrl.training.guards import Guards
from lenrl.training.in_progress import InProgress
from lenrl.training.judging import Judging
from lenrl.training.problem_set import ProblemSet
from lenrl.training.reward_calls import RewardCalls, ZeroRewards
from lenrl.training.rollout_log import RolloutLog
from lenrl.training.rollout_logps import carrying, sampler_gap, with_mean_logp
from lenrl.training.run_state import StrategyStates
from lenrl.training.selection import PromptCursor, keep_groups
from lenrl.training.signals import StopSignal
from lenrl.training.trl_batch import ROW_VALUE, TrlBatch, TrlRow, as_wide_as, cut, loss_mask

T = TypeVar("T")


@dataclass
class RolloutScoring:
    """Leads each generation batch through the slots: `begin`, then `score`, then `finish`. All are collective."""

    strategies: StrategyStates  # the method, with its state
    run_info: RunInfo
    problem_set: ProblemSet
    eos_ids: Sequence[int]  # end a completion
    group: ProcessGroup
    monitor: LocalMonitor
    stop: StopSignal  # lets a signal end what a process does by itself
    guards: Guards
    cursor: PromptCursor  # gives the prompts where the sampling strategy decides which or how many
    _current: InProgress | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.zeros = ZeroRewards(self.method)

    @cached_property
    def judging(self) -> Judging:
        return Judging(self.method, self.problem_set, self.eos_ids, self.monitor, self._alone)

    @property
    def asking(self) -> Asking:
        return Asking(self.method, self.run_info, self.problem_set, self.group, self.cursor, self._stage)

    @property
    def method(self) -> Method:
        """The six slots."""
        return self.strategies.method

    @property
    def pad_id(self) -> int:
        """Fills what was cut, and rows of different widths."""
        return self.problem_set.prompts.tokenizer.pad_token_id

    # --- before and while it is sampled --------------------------------------------------------------------

    def begin(self, rows: Sequence[TrlRow], *, step: int, number: int) -> Sequence[TrlRow]:
        """Rows to sample, from the data loader's; `step`, `number`: see `InProgress`."""
        self._current = self.asking.begin(rows, step=step, number=number)
        return self._current.rows

    def sample(
        self, model: CausalLM, prompt_ids: Sequence[Sequence[int]], rule: TokenRule
    ) -> tuple[list[list[int]], list[list[float]] | None]:
        """Completions of this process's rows, and their tokens' log-probs if the method needs them.

        Verification of a completion begins when it ends; `score` takes the verdicts.
        """
        current, asked = self.current, self.problem_set
        forced, rooms = current.forced, current.forced.rooms(self.caps)
        rows = zip(forced.begun(prompt_ids), rooms, current.keys, map(len, forced.ids), strict=True)
        rows = [PromptRow(*row) for row in rows]
        pending, texts = asked.verifier.begin(), [""] * len(rows)

        def ended(completions: Mapping[int, Completion]) -> None:
            for place, completion in completions.items():
                texts[place] = self.judging.text([*forced.ids[place], *completion.ids])
            pending.submit({i: asked.claim(texts[i], asked.asked(current.rows[i])) for i in completions})

        batches = Batches(size=len(rows), ended=ended)
        # Of forced tokens nobody has computed a log-prob: a pass of its own does.
        needs_logp = self.method.needs_logp and not forced.wanted
        completions = sample_rows(model, rows, rule, self.eos_ids, batches, logps=needs_logp)
        self._current = replace(current, pending=pending, texts=texts)
        logps = [completion.logps or [] for completion in completions] if needs_logp else None
        return forced.whole([completion.ids for completion in completions], logps)

    # --- after sampling ------------------------------------------------------------------------------------

    @property
    def current(self) -> InProgress:
        """The batch that was begun and is not finished."""
        assert self._current is not None
        return self._current

    @property
    def caps(self) -> list[int]:
        """Tokens that each row of this process may have."""
        longest = self.current.cap
        return [longest if b.cap is None else min(longest, b.cap) for b in self.current.prompt_budgets]

    def capped(self, values: Sequence[Sequence[T]]) -> list[list[T]]:
        """Rows' tokens, or what belongs to them, up to each row's cap: what sampling with that cap would have given."""
        return [list(row[:cap]) for row, cap in zip(values, self.caps, strict=True)]

    def score(self, completion_ids: Sequence[Sequence[int]], trainer_state: Any = None) -> Tensor:
        """Rewards, float32 (rows of all processes, 1), NaN where a row is not valid, of this process's completions.

        Every process verifies its own rows and calls the reward functions with them, and truncates and rewards all.
        `trainer_state` is what reward functions get under that name.

        Raises:
            PluginFailed: on every process, where code of the user's own fails on one of them.
        """
        current, judging = self.current, self.judging
        calls = judging.calls(current, completion_ids, trainer_state)
        every = range(len(calls.texts))
        verdicts = judging.verdicts(calls, every, current.pending)
        everyone = self.group.gather(judging.rows(calls, every, verdicts))
        local = self.group.local_slice(len(every))

        def judge(kept: Mapping[int, int]) -> list[Row]:
            """The cut rows of all processes; this process's verdicts take the place of the former ones."""
            own = {row - local.start: n for row, n in kept.items() if local.start <= row < local.stop}
            for i, tokens in own.items():
                calls.ids[i] = completion_ids[i][:tokens]
                calls.texts[i] = judging.text(calls.ids[i])
            again = judging.verdicts(calls, list(own))
            for i, verdict in zip(own, again, strict=True):
                verdicts[i] = verdict
            return self.group.gather(judging.rows(calls, own, verdicts))

        rollouts = build_rollouts(
            everyone, self.asking.num_generations, self.run_info.max_length, current.step
        )
        nonfinite = self.guards.settings.nonfinite
        scored = score(self.method, rollouts, judge, nonfinite, self._stage, lambda: self._parts(calls))
        self._current = replace(current, texts=calls.texts, verdicts=verdicts, calls=calls, scored=scored)
        return scored.reward.total_PG.reshape(-1, 1).to(torch.float32).to(self.group.device)

    def finish(
        self,
        batch: TrlBatch,
        logps: Callable[[TrlBatch], Tensor],
        known: Callable[[TrlBatch], Tensor | None] = lambda _: None,
        teacher: Callable[[TrlBatch], Tensor] | None = None,
    ) -> TrlBatch:
        """The batch to train on: cut, with the method's advantages, of the groups that are kept.

        Args:
            batch: TRL's, of this process's rows.
            logps: (N, T) log-probs under the policy that sampled.
            known: the same where they cost no pass of the model, on every process or on none; only logged.
            teacher: the same of the advantage's teacher, of a batch with its prompts, if it has one.
        """
        current, method = self.current, self.method
        assert current.scored is not None
        rollouts, reward = current.scored.rollouts, current.scored.reward
        local = self.group.local_slice(len(current.rows))
        if bool((rollouts.length_PG < rollouts.sampled_length_PG).any()):
            kept_N = rollouts.length_PG.reshape(-1)[local].to(self.group.device)
            batch = self._counted(cut(batch, kept_N, self.pad_id))
        if method.needs_logp:
            rollouts = self._with_logps(batch, rollouts, logps)
        if "teacher_logps" in method.reads:
            assert teacher is not None
            rollouts = self._with_teacher(batch, rollouts, teacher)
        advantage = self._stage("advantage", lambda: method.advantages(reward, rollouts))
        batch["advantages"] = self._local(batch, advantage)
        metrics = self._stage("diagnosis", lambda: diagnose(method, reward, advantage, rollouts))
        self._stage("observation", lambda: self.strategies.observe(rollouts, reward))
        if rollouts.mean_logp_PG is None and self.monitor.wants(current.number):
            logp_NT = known(batch)
            rollouts = rollouts if logp_NT is None else with_mean_logp(rollouts, batch, logp_NT, self.group)
        batch = self._with_objective_inputs(batch, rollouts, reward)
        kept = list(range(rollouts.P))
        if method.sampling.selects:
            batch, kept = self._selected(batch, method.signal(rollouts, reward))
        metrics |= method.metrics(rollouts, reward)
        metrics["sampler_logp_gap"] = sampler_gap(batch, self.group)
        if method.sampling.chooses:
            metrics["prompts_in_pass"] = self.cursor.in_pass
        log = RolloutLog(method, self.problem_set, self.eos_ids, self.group, self.monitor, self.guards)
        figures = log.record(replace(current, scored=Scored(rollouts, reward)), advantage, metrics, kept)
        self._current = None
        if self.monitor.is_main:
            self.zeros.watch(rollouts, current.rows[0]["prompt"])
        self.guards.act(figures, is_main=self.monitor.is_main)
        return batch

    def _with_objective_inputs(self, batch: TrlBatch, rollouts: Rollouts, reward: RewardResult) -> TrlBatch:
        """The batch with what the objective reads of each row, and no more."""
        method = self.method
        if not method.objective.computes_loss:
            return batch
        values = self._stage("row values", lambda: method.row_values(reward, rollouts))
        added = {ROW_VALUE + name: self._local(batch, value) for name, value in values.items()}
        if "first_logits" in method.objective.reads_batch:
            ids, mask = self._prompts([None] * len(self.current.rows))
            added |= {"bare_prompt_ids": ids, "bare_prompt_mask": mask}
        return cast(TrlBatch, {**batch, **added})

    def _local(self, batch: TrlBatch, value: Tensor) -> Tensor:
        """This process's rows of a value of all completions (P, G) or tokens (P, G, T), as wide as its batch."""
        rows = value.flatten(0, 1)[self.group.local_slice(len(self.current.rows))]
        return as_wide_as(batch["completion_ids"], rows.to(device=self.group.device, dtype=torch.float32))

    def _prompts(self, budgets: Sequence[PromptBudget | None]) -> tuple[Tensor, Tensor]:
        """Token ids and mask (N, S) of this process's prompts with these budgets' words, padded on the left."""
        prompts = self.problem_set.prompts
        asked = [self.problem_set.asked(row) for row in self.current.rows]
        rows = [torch.tensor(prompts.ids(*pair)) for pair in zip(asked, budgets, strict=True)]
        ids = pad_sequence(rows, batch_first=True, padding_value=self.pad_id, padding_side="left")
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side="left")
        return ids.to(self.group.device), mask.to(self.group.device)

    def _selected(self, batch: TrlBatch, signal_P: Tensor) -> tuple[TrlBatch, list[int]]:
        """The batch of the groups that the sampling strategy keeps, and which groups those are."""
        sampling, prompts = self.method.sampling, self.current.prompts
        batch, kept = keep_groups(batch, signal_P, sampling, prompts, group=self.group, pad_id=self.pad_id)
        return self._counted(batch), kept

    def _counted(self, batch: TrlBatch) -> TrlBatch:
        """The batch with the number of tokens that are in the loss now."""
        batch["num_items_in_batch"] = self.group.gather_tensor(loss_mask(batch).sum()).sum()
        return batch

    def _with_logps(
        self, batch: TrlBatch, rollouts: Rollouts, logps: Callable[[TrlBatch], Tensor]
    ) -> Rollouts:
        """The record with log-probs under the policy at rollout time, at the sampling temperature."""
        with self.monitor.timed("logp"):
            logp_NT = logps(batch)
            rollouts = with_mean_logp(rollouts, batch, logp_NT, self.group)
            reads = "logps" in self.method.reads
            return carrying(rollouts, "logps", logp_NT, self.group) if reads else rollouts

    def _with_teacher(
        self, batch: TrlBatch, rollouts: Rollouts, teacher: Callable[[TrlBatch], Tensor]
    ) -> Rollouts:
        """The record with log-probs under the teacher, which reads the prompts with its own words added."""
        rule = self.method.advantage.teacher
        assert rule is not None
        budgets = [
            replace(budget, system="\n\n".join(filter(None, [budget.system, rule.words])))
            for budget in self.current.prompt_budgets
        ]
        ids, mask = self._prompts(budgets)
        with self.monitor.timed("logp"):
            logp_NT = teacher(cast(TrlBatch, {**batch, "prompt_ids": ids, "prompt_mask": mask}))
            return carrying(rollouts, "teacher_logps", logp_NT, self.group)

    def _parts(self, calls: RewardCalls) -> dict[str, list[float | None]]:
        """Values of the reward functions that are added, of all processes' rows, by name."""
        rows = self.group.gather(self.judging.parts(calls, self.guards.settings.nonfinite))
        return {f.name: [row[f.name] for row in rows] for f in self.method.added}

    def _alone(self, name: str, work: Callable[[], T]) -> T:
        """Work of this process alone, broken off on a signal; its error is raised on every process."""
        return self.group.settled(self.stop.run(name, lambda: outcome(work)))

    def _stage(self, name: str, work: Callable[[], T]) -> T:
        """Run a strategy: timed, and else as work of this process alone, though all do the same."""
        with self.monitor.timed("strategies"):
            return self._alone(name, work)
