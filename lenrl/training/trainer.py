"""The subclass of TRL's `GRPOTrainer`: with `saving`, the only file that touches its underscored names.

It copies nothing of TRL. Around TRL's own `_generate_and_score_completions` it puts the six slots of a method:
budgets before sampling; verification, truncation and reward in `_calculate_rewards`, on the whole generation
batch; the advantage afterwards, in place of TRL's; the objective in `_compute_loss`. The names it overrides, with
the signatures it relies on, are in `OVERRIDES`; a test compares them with the installed TRL.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.distributed.fsdp import is_fsdp_managed_module
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl.models.utils import unwrap_model_for_generation

from lenrl.config import GuardSettings
from lenrl.errors import RunFailed
from lenrl.generation.sampling import completion_text
from lenrl.measures import aes
from lenrl.monitors.local import LocalMonitor, verifier_metrics
from lenrl.rollouts import RewardResult, Rollouts, Verdict
from lenrl.strategies.base import MicroBatch, PromptBudget, RunInfo, StepTotals
from lenrl.strategies.diagnostics import diagnose
from lenrl.strategies.method import Method
from lenrl.strategies.scoring import Row, build_rollouts, score
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import Prompts
from lenrl.training import checkpointing as saving
from lenrl.training.callbacks import Borders
from lenrl.training.checkpointing import EpochSampler, Saving, swapped
from lenrl.training.clock import Clock
from lenrl.training.distributed import ProcessGroup
from lenrl.training.evaluation import DueEvaluation
from lenrl.training.guard import TruncationGuard
from lenrl.training.loss import as_wide_as, cut_output, loss_mask, masked_mean, useful_token_share
from lenrl.training.rollback import StepSnapshot
from lenrl.training.rollout import capped
from lenrl.training.selection import PromptCursor, keep_groups, prompts_to_sample
from lenrl.training.signals import UPDATE_S, StopSignal
from lenrl.verify.pool import Claim, Verifier

OVERRIDES = {
    "_generate_and_score_completions": "(self, inputs)",
    "_calculate_rewards": "(self, inputs, prompts, completions, completion_ids_list)",
    "_generate": "(self, prompts)",
    "_generate_single_turn": (
        "(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False)"
    ),
    "_compute_loss": "(self, model, inputs)",
    "_get_train_sampler": "(self, dataset=None)",
    "_get_grad_norm": "(self, model, grad_norm=None)",
    **saving.OVERRIDES,
}
"""Private methods of TRL and of transformers' Trainer that are overridden."""

USES = {
    "_get_per_token_logps_and_entropies": (
        "(self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, "
        "compute_aux_loss=False, pixel_values=None, image_grid_thw=None, num_images=None, pixel_attention_mask=None, "
        "spatial_shapes=None, num_tiles=None, image_sizes=None, token_type_ids=None, mm_token_type_ids=None, "
        "image_position_ids=None)"
    ),
}
"""Private methods of TRL that are called; also `_step`, `_buffered_inputs`, `_metrics` and `_tokenizer`."""

GENERATED = "prompt_ids, completion_ids, tool_mask, completions, logprobs, extra_fields, images, tool_images"
"""What `_generate` returns."""


def _placeholder_reward(**_: Any) -> list[float]:
    """TRL asks for a reward function; ours are called in `_calculate_rewards`, on whole groups."""
    raise AssertionError("never called")


_placeholder_reward.__name__ = "reward"
_REWARDS: Any = [_placeholder_reward]

AGREE_EVERY = 16  # forward passes of a sharded generation between two looks for signals

ROW_MEAN_LOSSES = ("grpo", "sapo", "dr_grpo", "luspo")
"""TRL's losses that divide by rows, so that rows of weight 0 must be taken out of the divisor."""


class LenrlTrainer(Saving):
    """GRPO with swappable budget, truncation, reward, advantage and objective.

    Args:
        method: the six slots.
        setting: what start-up checks know of the run.
        verifier: judges completions; every process has its own workers.
        journal: writes `metrics.jsonl` and `completions/`.
        dev: evaluates the model on development problems; None: never.
        think_prefilled: the chat template opens `<think>` itself.
        guard: when the run stops by itself.
        problems: every training problem by its id; the data set's rows carry `prompt_id`.
        prompts: problems in the tokenizer's words.
        origin: what a checkpoint must agree with to be continued: `recipe` (`Recipe.identity()`) and `data` (digest).
        stop: what this process knows of signals; default: none come.
        **trl: what `GRPOTrainer` takes, without `reward_funcs`.
    """

    # TRL's own, whose annotations are wider than what a trainer in use holds
    accelerator: Any
    args: Any
    max_completion_length: Any
    model: Any
    num_generations: Any
    shuffle_dataset: Any
    _tokenizer: Any

    def __init__(
        self,
        *,
        method: Method,
        run_info: RunInfo,
        verifier: Verifier,
        monitor: LocalMonitor,
        dev: Callable[..., dict[str, float]] | None,
        think_prefilled: bool,
        guard: GuardSettings,
        problems: Mapping[str, Problem],
        prompts: Prompts,
        origin: Mapping[str, Any],
        stop: StopSignal | None = None,
        **trl: Any,
    ) -> None:
        super().__init__(reward_funcs=_REWARDS, **trl)
        self.method = method
        self.run_info = run_info
        self.verifier = verifier
        self.monitor = monitor
        self.dev = dev
        self.think_prefilled = think_prefilled
        self.guard = guard
        self.problems = problems
        self.prompts = prompts
        self.origin = origin
        self.dev_baseline: dict[str, Any] | None = None
        self._prompt_budgets: list[PromptBudget] = []
        self._rollouts: Rollouts | None = None
        self._reward = RewardResult(torch.empty(0))
        self._texts: list[str] = []
        self._verdicts: list[Verdict] = []
        self._totals: StepTotals | None = None
        self._cap: int | None = None
        self._objective_figures: tuple[str, ...] = ()  # what the objective gives `_metrics`, by name
        self.truncation_guard = TruncationGuard(guard)
        self.group = ProcessGroup(self.accelerator)
        self.order: EpochSampler | None = None
        self.skip_update = False  # no group of the optimizer step is informative
        self._row_scale = 1.0
        self._begun = False
        self.cursor = PromptCursor(list(problems), self.args.seed)
        self.stop = stop or StopSignal()
        self.stop.highest = self.group.highest if self.group.processes > 1 else None
        self.clock = Clock()
        self.evaluation = DueEvaluation()
        # Whatever else has a state: `state_dict()` and `load_state_dict()` of plain JSON, the same on every process.
        self.stateful: dict[str, Any] = {
            "guard": self.truncation_guard,
            "clock": self.clock,
            "evaluation": self.evaluation,
            "journal": self.monitor,
        }
        self.border = StepSnapshot(self)
        self._generated = 0  # forward passes of a sharded generation
        # No part of a compiled model: what it counts would compile the model anew each time.
        hook = torch.compiler.disable(lambda *_: self._forward())
        self.model.get_input_embeddings().register_forward_pre_hook(hook)
        self.add_callback(Borders(self))

    # --- signals and progress ------------------------------------------------------------------------------

    def _forward(self) -> None:
        """A forward pass begins: the process makes progress, and sharded models sample in step."""
        self.stop.beat(self.stop.doing)
        if self._generated:
            self._generated += 1
            if self._generated % AGREE_EVERY == 0:
                self.stop.agree()

    def sampled(self, doing: str, work: Callable[[], Any]) -> Any:
        """Work that samples from the model, left on a signal.

        Where each forward pass is a collective (ZeRO-3, FSDP) no process may leave by itself: all count their
        passes, which transformers keeps equal, and compare notes now and then. vLLM samples to the end.
        """
        sharded = is_deepspeed_zero3_enabled() or is_fsdp_managed_module(
            self.accelerator.unwrap_model(self.model)
        )
        if not sharded and not self.use_vllm:
            return self.stop.run(doing, work)
        self.stop.beat(doing)
        self._generated = int(sharded)
        try:
            found = work()
        finally:
            self._generated = 0
        self.stop.agree()
        return found

    def leave(self) -> None:
        """After `Stopped`: write the checkpoint of the last optimizer step, unless there is one or none to write."""
        if self.border.step is None or self.border.step == self.saved_step:
            return
        due = self.evaluation.due  # it belongs to the step that has ended
        self.border.go_back()
        self.evaluation.due = due
        self._save_checkpoint(self.model_wrapped, None)

    # --- before sampling -----------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        dataset = self.train_dataset if dataset is None else dataset
        self.order = EpochSampler(
            data_source=dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
        )
        return self.order

    def _budgets(self, inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Copies of this process's rows with the budget's hints in their prompts.

        Budgets see the whole generation batch in batch order (groups adjacent), since some treat a group's
        members differently.
        """
        everyone = self.group.gather([row["prompt_id"] for row in inputs])
        columns = [self.problems[name].columns for name in everyone]
        with self.monitor.timed("strategies"):
            prompt_budgets = self.stop.run(
                "budget",
                lambda: self.method.budgets(everyone, columns, self.state.global_step, self.run_info),
            )
        caps = [self.max_completion_length if a.cap is None else a.cap for a in prompt_budgets]
        self._cap = min(max(caps), self.max_completion_length)
        self._prompt_budgets = prompt_budgets[self.group.mine(len(inputs))]
        rows = []
        for row, prompt_budget in zip(inputs, self._prompt_budgets, strict=True):
            copy = dict(row)
            if prompt_budget.hint or prompt_budget.system:
                copy["prompt"] = self.prompts.for_trl(self.problems[row["prompt_id"]], prompt_budget)
            rows.append(copy)
        return rows

    def _generate(self, prompts: list) -> Any:
        """TRL's, where no row gets longer than its own cap."""
        with self.monitor.timed("generate"), self._capped():
            found: dict[str, Any] = dict(zip(GENERATED.split(", "), super()._generate(prompts), strict=True))
        for name in ("completion_ids", "logprobs"):
            if found[name] is not None:
                found[name] = capped(found[name], self._prompt_budgets)
        return tuple(found.values())

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's, which a signal ends at once."""
        generate = super()._generate_single_turn
        return self.sampled("generation", lambda: generate(*args, **kwargs))

    @contextmanager
    def _capped(self) -> Any:
        """The batch never generates past its largest cap."""
        cap = self._cap
        if cap is None or cap == self.max_completion_length:
            yield
            return
        holder, name = (
            (self.vllm_generation, "max_completion_length")
            if self.use_vllm
            else (self.generation_config, "max_new_tokens")
        )
        with swapped(holder, **{name: cap}):
            yield

    # --- after sampling ------------------------------------------------------------------------------------

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """Verify this process's rows, gather, then cut and pay identically on every process."""
        eos = set(self.eos_token_ids)
        texts = [completion_text(self._tokenizer, ids, self.eos_token_ids) for ids in completion_ids_list]
        problems = [self.problems[row["prompt_id"]] for row in inputs]
        golds = [problem.answer for problem in problems]
        with self.monitor.timed("verify"):
            verdicts = self.stop.run("verification", lambda: self._verify(texts, golds))
        rows = [
            Row(
                prompt_id=problem.id,
                length=len(ids),
                truncated=not ids or ids[-1] not in eos,
                verdict=verdict,
                prompt_budget=prompt_budget,
                columns=problem.columns,
            )
            for problem, ids, verdict, prompt_budget in zip(
                problems, completion_ids_list, verdicts, self._prompt_budgets, strict=True
            )
        ]
        everyone = self.group.gather(rows)
        scored = score(
            self.method,
            build_rollouts(
                everyone, self.num_generations, self.max_completion_length, self.state.global_step
            ),
            lambda cuts: self._judge_cut(cuts, completion_ids_list, texts, verdicts, golds),
            self.guard.nonfinite,
            self._stage,
        )
        self._reward = scored.reward
        self._rollouts, self._texts, self._verdicts = scored.rollouts, texts, verdicts
        total_N1 = self._reward.total_PG.reshape(-1, 1).to(torch.float32)
        return total_N1.to(self.accelerator.device)

    def _verify(self, texts: Sequence[str], golds: Sequence[str | None]) -> list[Verdict]:
        claims = [Claim(text, gold, self.think_prefilled) for text, gold in zip(texts, golds, strict=True)]
        return self.verifier.verify(claims)

    def _stage(self, name: str, work: Callable[[], Any]) -> Any:
        """A stage of the pipeline, timed, and left on a signal."""
        with self.monitor.timed("strategies"):
            return self.stop.run(name, work)

    def _judge_cut(self, cuts, ids, texts, verdicts, golds) -> list[Verdict]:
        """Verify the shortened rows again; `texts` and `verdicts` of this process are replaced in place."""
        mine = self.group.mine(len(ids))
        local = {row - mine.start: kept for row, kept in cuts.items() if mine.start <= row < mine.stop}
        with self.monitor.timed("verify"):
            for i, kept in local.items():
                texts[i] = completion_text(self._tokenizer, ids[i][:kept], self.eos_token_ids)
            again = self.stop.run(
                "verification", lambda: self._verify([texts[i] for i in local], [golds[i] for i in local])
            )
        for i, verdict in zip(local, again, strict=True):
            verdicts[i] = verdict
        return self.group.gather(again)

    def _generate_and_score_completions(self, inputs):
        inputs = self._drawn(inputs)
        counts = dict(self.verifier.counts)
        output = super()._generate_and_score_completions(self._budgets(inputs))
        rollouts = self._rollouts
        assert rollouts is not None
        mine = self.group.mine(len(inputs))
        device = self.accelerator.device
        kept_N = rollouts.length_PG.reshape(-1)[mine].to(device)
        if bool((rollouts.length_PG < rollouts.sampled_length_PG).any()):
            cut_output(output, kept_N, self._tokenizer.pad_token_id)
            output["num_items_in_batch"] = self.accelerator.gather(loss_mask(output).sum()).sum()
        if self.method.needs_logp:
            rollouts = rollouts.with_(mean_logp_PG=self._mean_logp(output, rollouts))
        with self.monitor.timed("strategies"):
            advantage = self.stop.run("advantage", lambda: self.method.advantages(self._reward, rollouts))
            local = advantage.reshape(rollouts.P * rollouts.G, *advantage.shape[2:])[mine]
            local = local.to(device=device, dtype=torch.float32)
            output["advantages"] = as_wide_as(output["completion_ids"], local)
            metrics = self.stop.run(
                "diagnosis", lambda: diagnose(self.method, self._reward, advantage, rollouts)
            )
            self.stop.run("observation", lambda: self.method.observe(rollouts, self._reward))
        output, kept = self._kept(output, rollouts)
        metrics |= {**self.method.metrics(rollouts, self._reward), "rewards_dropped": self._reward.dropped}
        metrics |= self._sampling_figures(rollouts.P, len(kept))
        spent = {name: count - counts[name] for name, count in self.verifier.counts.items()}
        metrics |= verifier_metrics(self.group.gather([spent]))
        self._record(inputs, output, rollouts, advantage, metrics=metrics, kept=kept)
        self.truncation_guard.watch(rollouts)
        return output

    def _drawn(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows to sample: the data loader's, or the cursor's where a strategy decides how many."""
        if not self.method.sampling.selects:
            return inputs
        processes = self.accelerator.num_processes
        prompts = len(inputs) * processes // self.num_generations
        factor = self.method.sampling.factor()
        wanted = prompts_to_sample(prompts, factor, self.num_generations, processes)
        self._prompts_kept, self._factor = prompts, factor
        names = [name for name in self.cursor.take(wanted) for _ in range(self.num_generations)]
        mine = names[self.group.mine(len(names) // processes)]
        return [self.prompts.row(self.problems[name]) for name in mine]

    def _kept(self, output: dict[str, Any], rollouts: Rollouts) -> tuple[dict[str, Any], list[int]]:
        """The batch of the groups that the sampling strategy keeps, and which groups those are."""
        if not self.method.sampling.selects:
            return output, list(range(rollouts.P))
        output, kept = keep_groups(
            output,
            self._reward.total_PG,
            self.method.sampling,
            self._prompts_kept,
            accelerator=self.accelerator,
            pad_id=self._tokenizer.pad_token_id,
        )
        output["num_items_in_batch"] = self.accelerator.gather(loss_mask(output).sum()).sum()
        return output, kept

    def _sampling_figures(self, sampled: int, kept: int) -> dict[str, float]:
        if not self.method.sampling.selects:
            return {}
        return {
            "sampling_factor": self._factor,
            "prompts_sampled": sampled,
            "prompts_kept": kept,
            "prompts_filled": self._prompts_kept - kept,
        }

    def _mean_logp(self, output: dict[str, Any], rollouts: Rollouts) -> Tensor:
        """(P, G) mean token log-prob under the policy at rollout time, at the sampling temperature.

        TRL computes these only for updates that reuse a rollout; else one pass without gradient.
        """
        with self.monitor.timed("logp"):
            logp_NT = output.get("old_per_token_logps")
            if logp_NT is None:
                logp_NT = self._logps(self.model, output, self.args.per_device_train_batch_size)
            mean_N = self.accelerator.gather(masked_mean(logp_NT, loss_mask(output)))
        return mean_N.reshape(rollouts.P, rollouts.G).cpu()

    @torch.no_grad()
    def _logps(self, model: Any, inputs: dict[str, Any], batch_size: int | None = None) -> Tensor:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        width = inputs["completion_ids"].size(1)
        return self._get_per_token_logps_and_entropies(model, ids, mask, width, batch_size=batch_size)[0]

    # --- the update ----------------------------------------------------------------------------------------

    def begin_step(self) -> None:
        """An optimizer step begins: with its first micro-batch, or the first of the rest of an epoch."""
        self.monitor.begin_step()
        self._totals = None
        self._begun = False

    def _compute_loss(self, model, inputs):
        self.stop.beat("update")
        self.stop.agree(UPDATE_S)
        if not self._begun:
            self._begin_update(inputs)
        if self.method.objective.replaces_loss:
            loss = self._objective_loss(model, inputs)
        else:
            loss = super()._compute_loss(model, inputs) * self._row_scale
        if not bool(torch.isfinite(loss.detach())):
            raise RunFailed(
                f"the loss is {loss.item()} at optimizer step {self.state.global_step + 1}: log-probs or advantages "
                "are not finite. The step was not taken; lower the learning rate or use float32, and resume."
            )
        return loss

    def _objective_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The loss of an objective that replaces TRL's."""
        assert self._totals is not None
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        logp_NT, entropy_NT, _ = self._get_per_token_logps_and_entropies(
            model, ids, attention, inputs["completion_ids"].size(1), compute_entropy=True
        )
        assert entropy_NT is not None
        old_NT = inputs.get("old_per_token_logps")
        mask_NT = loss_mask(inputs)
        batch = MicroBatch(
            logp_NT=logp_NT,
            old_logp_NT=logp_NT.detach() if old_NT is None else old_NT,
            mask_NT=mask_NT.bool(),
            advantage_N=inputs["advantages"],
        )
        loss, metrics = self.method.objective(batch, self._totals)
        figures = {"entropy": masked_mean(entropy_NT.detach(), mask_NT).mean().item(), **metrics}
        sums = self.group.total(torch.tensor(list(figures.values()), dtype=torch.float64, device=loss.device))
        for name, value in zip(figures, sums, strict=True):
            self._metrics["train"][name].append(value / self.group.processes)
        self._objective_figures = tuple(metrics)
        return loss

    def _begin_update(self, inputs: dict[str, Any]) -> None:
        """What the micro-batches of the optimizer step that begins now have in common."""
        self._begun = True
        batches = self._buffered_inputs or [inputs]
        window = [
            batches[(self._step + j) % len(batches)] for j in range(self.current_gradient_accumulation_steps)
        ]
        if self.method.objective.replaces_loss:
            self._totals = self._step_totals(window)
        if "row_weight" not in inputs:
            return
        rows = torch.tensor([sum(b["row_weight"].numel() for b in window)], dtype=torch.float64)
        weighted = torch.stack([b["row_weight"].sum().double().cpu() for b in window]).sum()[None]
        counts = torch.cat([rows, weighted]).to(self.accelerator.device)
        rows, weighted = self.group.total(counts)
        self.skip_update = weighted == 0
        by_rows = self.loss_type in ROW_MEAN_LOSSES
        self._row_scale = rows / weighted if by_rows and weighted else 1.0

    def _step_totals(self, window: Sequence[dict[str, Any]]) -> StepTotals:
        """Totals over an optimizer step, with one pass without gradient where the objective needs it."""
        objective = self.method.objective
        sums = torch.zeros(3, dtype=torch.float64, device=self.accelerator.device)
        surveyed = []
        for inputs in window:
            mask = loss_mask(inputs)
            sums[0] += inputs["row_weight"].sum() if "row_weight" in inputs else mask.size(0)
            sums[1] += mask.sum()
            old_NT = inputs.get("old_per_token_logps")
            # Without old log-probs one update follows one rollout: nothing has drifted, K is 0.
            drifted = objective.surveys == "drift" and old_NT is not None
            if objective.surveys == "tokens" or drifted:
                logp_NT = self._logps(self.model, inputs)
                old_NT = logp_NT if old_NT is None else old_NT
                sums[2] += torch.where(mask.bool(), old_NT - logp_NT, 0.0).to(torch.float64).sum()
                surveyed.append(MicroBatch(logp_NT, old_NT, mask.bool(), inputs["advantages"]))
        rows, tokens, kl_tokens = self.group.total(sums)
        extra = objective.survey(surveyed, self.group.gather_flat) if surveyed else {}
        return StepTotals(max(1, int(rows)), tokens, kl_tokens, self.accelerator.num_processes, extra)

    def _get_grad_norm(self, model, grad_norm=None):
        """TRL's; a gradient that is not finite ends the run before it reaches the weights.

        DeepSpeed's engine has stepped by now. The run ends before that step can get into a checkpoint.
        """
        found = super()._get_grad_norm(model, grad_norm)
        # a gradient scaler (fp16) finds overflows itself, leaves the step out and lowers its scale
        if self.accelerator.scaler is None and found is not None and not math.isfinite(float(found)):
            taken = "DeepSpeed took the step, but it is in no checkpoint"
            raise RunFailed(
                f"the gradient's norm is {float(found)} at optimizer step {self.state.global_step + 1}. "
                f"{taken if self.is_deepspeed_enabled else 'The step was not taken'}; lower the learning rate or use "
                "float32, and resume."
            )
        return found

    # --- development problems ------------------------------------------------------------------------------

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Accuracy and tokens on the development problems, and AES against the first evaluation of the run."""
        if self.dev is None:
            return {}
        late, self.evaluation.due = self.evaluation.due, True
        with self.monitor.timed("evaluate"), self._for_generation() as model:
            found = self.dev(model, self.state.global_step, self.group.gather)
        self.evaluation.due = False
        if self.dev_baseline is None:
            known = not math.isnan(found["accuracy"])  # without gold answers it is NaN, which is no JSON
            self.dev_baseline = {"accuracy": found["accuracy"] if known else None, "tokens": found["tokens"]}
        base = self.dev_baseline
        score = aes(base["accuracy"], found["accuracy"], base["tokens"], found["tokens"])
        found["aes"] = float("nan") if score is None else score
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.monitor.evaluated(self.state.global_step, metrics)
        self.log({name: value for name, value in metrics.items() if math.isfinite(value)})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if late:  # transformers ranks only the evaluations at the step where they belong
            self._determine_best_metric(metrics, None)
        return metrics

    @contextmanager
    def _for_generation(self) -> Any:
        training = self.model.training
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
            ) as model,
            torch.no_grad(),
        ):
            model.eval()
            yield model
        self.model.train(training)

    # --- records -------------------------------------------------------------------------------------------

    def _record(
        self,
        inputs: Sequence[dict[str, Any]],
        output: dict[str, Any],
        rollouts: Rollouts,
        advantage: Tensor,
        *,
        metrics: dict[str, Any],
        kept: Sequence[int],
    ) -> None:
        self.monitor.rollout(
            metrics | {"useful_token_share": useful_token_share(output, self.group.total)},
            sampled_tokens=int(rollouts.sampled_length_PG.sum()),
        )
        if self.monitor.wants(self._rollout_number()):
            prompts = [self.problems[row["prompt_id"]].prompt for row in inputs]
            answers = [verdict.answer for verdict in self._verdicts]
            texts = self.group.gather(
                list(zip(prompts, self._texts, answers, self._prompt_budgets, strict=True))
            )
            self.monitor.completions(
                self.state.global_step, texts, rollouts, self._reward, advantage, kept=kept
            )

    def _rollout_number(self) -> int:
        """Rollouts before this one since the run began, also after a resume."""
        return self._step // self._micro_steps_per_rollout

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = "train" if self.model.training else "eval"
        if mode == "train" and "grad_norm" in logs:
            found = {n: self._metrics[mode].get(n) for n in ("kl", "entropy", *self._objective_figures)}
            self.monitor.step(
                self.state.global_step,
                {
                    "grad_norm": logs["grad_norm"],
                    "loss": logs.get("loss"),
                    "learning_rate": logs.get("learning_rate"),
                    **{name: sum(values) / len(values) if values else None for name, values in found.items()},
                },
                now=time.perf_counter(),
            )
            logs = logs | self.monitor.last_metrics
        super().log(logs, start_time)
