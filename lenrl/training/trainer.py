"""The subclass of TRL's `GRPOTrainer`: overrides of TRL and nothing else. `checkpointing`, `logp_passes` have others.

It copies nothing of TRL. Around TRL's own `_generate_and_score_completions` it puts the six slots of a method, which
`RolloutScoring` and `PolicyUpdate` lead a batch through; they get values and callables, never the trainer. What
passes between TRL and them is a `TrlBatch`. The names that are overridden, with the signatures relied on, are in
`OVERRIDES`; a test compares them with the installed TRL.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.distributed.fsdp import is_fsdp_managed_module
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.grpo_trainer import RewardFunc

from lenrl.config import GuardSettings, UpdateSettings
from lenrl.generation.choice import TokenRule
from lenrl.generation.sampling import sampler_rule
from lenrl.generation.vllm_caps import row_caps
from lenrl.monitors.local import LocalMonitor
from lenrl.strategies.base import Objective, RunInfo
from lenrl.strategies.method import Method
from lenrl.training import checkpointing, logp_passes
from lenrl.training.callbacks import StepCallback
from lenrl.training.checkpointing import EpochSampler, swapped
from lenrl.training.chunks import Chunks
from lenrl.training.distributed import ProcessGroup
from lenrl.training.guards import Guards
from lenrl.training.lean import DIVISORS, every_row_reason, whole_batch_reason
from lenrl.training.logp_passes import LogpPasses
from lenrl.training.loss import Forwards, PolicyUpdate, Scored, check_gradient, check_loss
from lenrl.training.problem_set import ProblemSet
from lenrl.training.rollback import StepSnapshot
from lenrl.training.rollout import RolloutScoring
from lenrl.training.run_state import (
    Clock,
    DevState,
    HeldElsewhere,
    RandomStreams,
    StrategyStates,
)
from lenrl.training.selection import PromptCursor
from lenrl.training.signals import UPDATE_S, SampledWork, StopSignal
from lenrl.training.teacher import Teacher
from lenrl.training.trl_batch import TrlBatch, TrlRow

log = logging.getLogger("lenrl")

OVERRIDES = {
    "_generate_and_score_completions": "(self, inputs)",
    "_calculate_rewards": "(self, inputs, prompts, completions, completion_ids_list)",
    "_generate": "(self, prompts)",
    "_tokenize_prompts": "(self, prompts)",
    "_generate_single_turn": (
        "(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False)"
    ),
    "_compute_loss": "(self, model, inputs)",
    "_get_train_sampler": "(self, dataset=None)",
    "_get_grad_norm": "(self, model, grad_norm=None)",
    **logp_passes.OVERRIDES,
    **checkpointing.OVERRIDES,
}
"""Private methods of TRL and of transformers' Trainer that are overridden."""

USES = {"_determine_best_metric": "(self, metrics, trial)"}
"""Private methods that are called."""

READS = ("_step", "_buffered_inputs", "_metrics")
"""Private attributes that are read; `checkpointing` puts the first two back."""

FIGURES = {
    "kl": ("kl",),
    "entropy": ("entropy",),
    "clip_ratio_low": ("clip_ratio/low_mean",),
    "clip_ratio_high": ("clip_ratio/high_mean", "cispo_clip_ratio"),
}
"""Figures of every line by their names in `_metrics`, of which a loss gives one at most; an objective may give ours."""

GENERATED = "prompt_ids, completion_ids, tool_mask, completions, logprobs, extra_fields, images, tool_images"
"""Names of what `_generate` returns."""


def _placeholder_reward(**_: object) -> list[float | None]:
    """TRL asks for a reward function; ours are called in `_calculate_rewards`, on whole groups."""
    raise AssertionError("never called")


_placeholder_reward.__name__ = "reward"
_REWARDS: list[RewardFunc] = [_placeholder_reward]


@dataclass(frozen=True)
class RunParts:
    """All that a run's trainer is made of, beside what TRL's takes."""

    method: Method  # the six slots
    run_info: RunInfo  # what start-up checks know of the run
    problem_set: ProblemSet  # every training problem, whose ids the data set's rows carry; the verifier
    monitor: LocalMonitor  # writes `metrics.jsonl` and `completions/`
    guard: GuardSettings  # when the run warns or stops by itself
    update: UpdateSettings  # what of the update's forward is left out
    origin: Mapping[str, Any]  # what a checkpoint must agree with: `recipe` (its identity), `data`
    stop: StopSignal  # what this process knows of signals


class SlottedGRPO(LogpPasses):
    """GRPO with swappable budget, truncation, reward, advantage, objective and sampling.

    Args:
        **trl: what `GRPOTrainer` takes, without `reward_funcs`.

    Attributes:
        dev: evaluates a model on development problems and other data: (model, completed steps, gather) -> figures;
            None: never.
    """

    # TRL's own, whose annotations are wider than what a trainer in use holds
    max_completion_length: int
    shuffle_dataset: bool
    train_dataset: Sized

    def __init__(self, parts: RunParts, **trl: Any) -> None:
        super().__init__(reward_funcs=_REWARDS, **trl)
        method, problem_set, monitor = parts.method, parts.problem_set, parts.monitor
        self.monitor = monitor
        self.origin = parts.origin
        self.dev: Callable[..., dict[str, float]] | None = None
        self.group = ProcessGroup(self.accelerator)
        self.stop = parts.stop
        self.stop.highest = self.group.max if self.group.processes > 1 else None
        self.sampling = SampledWork(self.stop, self._passes_are_collective, whole=self.use_vllm)
        self.order: EpochSampler | None = None
        columns = {problem.id: problem.columns for problem in problem_set.problems.values()}
        choose = method.choose if method.sampling.chooses else None
        self.cursor = PromptCursor(columns, self.args.seed, choose)
        self.clock, self.evaluation = Clock(), DevState()
        guards = Guards(parts.guard, best=self._best_kept)
        self.strategies = StrategyStates(method)
        rule = method.advantage.teacher if "teacher_logps" in method.reads else None
        self.teacher = Teacher(self.model, rule) if rule else None
        self.rollout = RolloutScoring(
            self.strategies,
            parts.run_info,
            problem_set,
            eos_ids=self.eos_token_ids,
            group=self.group,
            monitor=monitor,
            stop=self.stop,
            guards=guards,
            cursor=self.cursor,
        )
        self.chunks = self._chunks(parts.update)
        self.update = self._policy_update(method.objective)
        self._update_figures: tuple[str, ...] = ()  # what the step's update gives `_metrics`, by name
        self._useful_token_share: float | None = None  # of the step's update
        undone = {"guard": guards, "clock": self.clock, "journal": monitor}  # keys of a checkpoint
        self.stateful = {**undone, "evaluation": self.evaluation}
        buffer = HeldElsewhere(lambda: self.buffer, lambda value: setattr(self, "buffer", value))
        kept = {
            "strategies": self.strategies,
            "cursor": self.cursor,
            "buffer": buffer,
            "random": RandomStreams(),
        }
        self.snapshot = StepSnapshot({**kept, **undone})
        # No part of a compiled model: what it counts would compile the model anew each time.
        hook: Any = torch.compiler.disable(lambda *_: self.sampling.forward())
        self.model.get_input_embeddings().register_forward_pre_hook(hook)
        self.add_callback(
            StepCallback(self._epoch_begins, self._step_begins, self._update_begins, self._step_ended)
        )

    def _chunks(self, settings: UpdateSettings) -> Chunks | None:
        """The parts in which log-probs are computed; None: the whole micro-batch, as TRL does it."""
        reason = whole_batch_reason(self.model.config, self.aux_loss_enabled)
        if settings.lean and reason and self.accelerator.is_main_process:
            log.warning("update.lean is off: %s", reason)
        return Chunks(self.group, settings.tokens) if settings.lean and not reason else None

    def _policy_update(self, objective: Objective) -> PolicyUpdate:
        reason = every_row_reason(objective, partial(getattr, self.args))
        every_row = self.chunks is None or reason is not None
        return PolicyUpdate(objective, self.group, divisor=DIVISORS[self.loss_type], every_row=every_row)

    # --- where epochs, steps and updates begin -------------------------------------------------------------

    def _epoch_begins(self, epoch: int) -> None:
        """accelerate does not reach a sampler behind `skip_first_batches` where there are several processes."""
        if self.order is not None:
            self.order.set_epoch(epoch)

    def _step_begins(self) -> None:
        self.stop.agree()
        self.monitor.begin_step()
        self.update.begin_step()
        self._update_figures = ()

    def _update_begins(self) -> None:
        """A step without any informative group counts, but moves neither weights nor optimizer state.

        A zero gradient would still move Adam by its momentum; parameters without a gradient are left alone.
        """
        if self.update.is_empty:
            self.model.zero_grad(set_to_none=True)
        useful, computed = self.update.step_tokens()
        self._useful_token_share = useful / computed if computed else None
        self.monitor.trained(useful)

    def _step_ended(self, step: int) -> None:
        self.strategies.updated(None if self.update.is_empty else self.update.ended())
        if self.teacher:
            self.teacher.step_ended(step)
        self.snapshot.take(step)

    # --- the rollout ---------------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Sized | None = None) -> EpochSampler:
        self.order = EpochSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self._micro_steps_per_rollout,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
        )
        return self.order

    def _generate_and_score_completions(self, inputs: Sequence[TrlRow]) -> TrlBatch:
        number = self._step // self._micro_steps_per_rollout
        rows: Any = self.rollout.begin(inputs, step=self.state.global_step, number=number)
        batch: Any = super()._generate_and_score_completions(rows)
        return self.rollout.finish(
            batch, self._rollout_logps, known=self._known_logps, teacher=self._teacher_logps
        )

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list) -> Tensor:
        return self.rollout.score(completion_ids_list, self.state)

    def _generate(self, prompts: list) -> tuple:
        """TRL's, where no row gets longer than its own cap and the batch not longer than the largest."""
        with self.monitor.timed("generate"), self._capped(self.rollout.current.cap):
            parts: dict[str, Any] = dict(zip(GENERATED.split(", "), super()._generate(prompts), strict=True))
        for name in ("completion_ids", "logprobs"):
            if parts[name] is not None:
                parts[name] = self.rollout.capped(parts[name])
        return tuple(parts.values())

    def _tokenize_prompts(self, prompts: list) -> tuple:
        """TRL's, of each prompt once: a group's are equal, unless budgets differ, and stand side by side."""
        runs = [(prompt, len(list(run))) for prompt, run in groupby(prompts)]
        ids, *others = super()._tokenize_prompts([prompt for prompt, _ in runs])
        if any(others):  # images and the like, in shapes of their own
            return super()._tokenize_prompts(prompts)
        return [own for own, (_, rows) in zip(ids, runs, strict=True) for _ in range(rows)], *others

    @contextmanager
    def _capped(self, cap: int) -> Iterator[None]:
        engine = self.vllm_generation if self.use_vllm else None
        if engine is not None and engine.mode == "colocate" and engine.tensor_parallel_size == 1:
            with row_caps(engine.llm, self.rollout.current.forced.rooms(self.rollout.caps)):
                yield
            return
        if cap >= self.max_completion_length:
            yield
            return
        holder, name = (
            (self.vllm_generation, "max_completion_length")
            if self.use_vllm
            else (self.generation_config, "max_new_tokens")
        )
        with swapped(holder, **{name: cap}):
            yield

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, *args, **kwargs):
        """lenrl's sampler, or TRL's where that can't do what was asked for; a signal ends either at once."""
        rule, generate = self._token_rule, super()._generate_single_turn

        def work() -> tuple[list[list[int]], list[list[float]] | None]:
            if rule is None or images or multimodal_fields:
                forced = self.rollout.current.forced
                return forced.whole(
                    *generate(forced.begun(prompt_ids), images, multimodal_fields, *args, **kwargs)
                )
            with self._for_generation() as model:
                return self.rollout.sample(model, prompt_ids, rule)

        return self.sampling.run("generation", work)

    @cached_property
    def _token_rule(self) -> TokenRule | None:
        """The rule that lenrl's sampler follows; None: TRL samples."""
        if self.use_vllm:
            return None
        rule = sampler_rule(self.accelerator.unwrap_model(self.model), self.generation_config)
        if self.use_transformers_continuous_batching:
            rule = "trainer.use_transformers_continuous_batching asks for another way"
        if isinstance(rule, str) and self.accelerator.is_main_process:
            log.warning("rollouts are sampled by transformers, more slowly than by lenrl's sampler: %s", rule)
        return None if isinstance(rule, str) else rule

    def _passes_are_collective(self) -> bool:
        """Every forward pass is one for all processes (ZeRO-3, FSDP)."""
        model = self.accelerator.unwrap_model(self.model)
        return is_deepspeed_zero3_enabled() or is_fsdp_managed_module(model)

    # --- the update ----------------------------------------------------------------------------------------

    def _compute_loss(self, model: nn.Module, inputs: TrlBatch) -> Tensor:
        self.stop.beat("update")
        self.stop.agree(UPDATE_S)
        if not self.update.begun:
            moved = self._step % self._micro_steps_per_rollout != 0
            self.update.begin(self._window(inputs), logps=self._frozen_logps, moved=moved)
        inputs = self.update.next(self._rest(inputs))
        trl = super()._compute_loss

        def of_trl() -> tuple[Tensor, Scored]:
            loss, scored, self._scored = trl(model, inputs), self._scored, None
            assert scored is not None
            return loss, scored

        forwards = Forwards(
            logps=lambda batch: self._logps(model, batch, compute_entropy=True),
            trl=of_trl,
            first_logits=partial(self._first_logits, model),
        )
        loss, figures = self.update.loss(inputs, forwards)
        for name, value in figures.items():
            self._metrics["train"][name].append(value)
        self._update_figures = tuple(figures) or self._update_figures
        return check_loss(loss, self.state.global_step + 1)

    def _window(self, inputs: TrlBatch) -> list[TrlBatch]:
        """The micro-batches of the optimizer step that begins now."""
        batches: Any = self._buffered_inputs or [inputs]
        steps = range(self._step, self._step + self.current_gradient_accumulation_steps)
        return [batches[step % len(batches)] for step in steps]

    def _rest(self, inputs: TrlBatch) -> list[TrlBatch]:
        """The micro-batches of this pass over the rollout from this one on."""
        batches: Any = self._buffered_inputs or [inputs]
        return batches[self._step % len(batches) :]

    def _get_grad_norm(self, model, grad_norm=None):
        """TRL's; a gradient that is not finite ends the run before it reaches the weights.

        DeepSpeed's engine has stepped by now. The run ends before that step can get into a checkpoint.
        """
        norm = super()._get_grad_norm(model, grad_norm)
        # a gradient scaler (fp16) finds overflows itself, leaves the step out and lowers its scale
        if self.accelerator.scaler is None and norm is not None:
            check_gradient(float(norm), self.state.global_step + 1, taken=self.is_deepspeed_enabled)
        return norm

    # --- development problems, logs ------------------------------------------------------------------------

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Accuracy and tokens on development problems and other data, and AES against the run's first evaluation."""
        if self.dev is None:
            return {}
        late, self.evaluation.due = self.evaluation.due, True
        with self.monitor.timed("evaluate"), self._for_generation() as model:
            figures = self.dev(model, self.state.global_step, self.group.gather)
        self.evaluation.due = False
        figures |= self.evaluation.aes(figures)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.monitor.evaluated(self.state.global_step, metrics)
        self.log({name: value for name, value in metrics.items() if math.isfinite(value)})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if late:  # transformers ranks only the evaluations at the step where they belong
            self._determine_best_metric(metrics, None)
        return metrics

    @contextmanager
    def _for_generation(self) -> Iterator[PreTrainedModel]:
        training = self.model.training
        gathered = self.args.ds3_gather_for_generation
        with (
            unwrap_model_for_generation(
                self.model_wrapped, self.accelerator, gather_deepspeed3_params=gathered
            ) as model,
            torch.no_grad(),
        ):
            model.eval()
            yield model
        self.model.train(training)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.model.training and "grad_norm" in logs:
            line = {name: logs.get(name) for name in ("grad_norm", "loss", "learning_rate")}
            for name, trl in (*FIGURES.items(), *((name, (name,)) for name in self._update_figures)):
                values = next((found for key in trl if (found := self._metrics["train"].get(key))), None)
                line[name] = sum(values) / len(values) if values else None
            line["useful_token_share"] = self._useful_token_share
            self.monitor.step(self.state.global_step, line, now=time.perf_counter())
            logs = logs | self.monitor.last_metrics
        super().log(logs, start_time)
