"""The trainer of a run with its data, verifier, monitors and evaluation, from a checked recipe."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PrinterCallback
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.utils import logging as transformers_logging

from lenrl.config import Recipe
from lenrl.errors import BadInput
from lenrl.generation.base import Batches, Decoding
from lenrl.generation.pretrained import TokenizerInfo, find, load_tokenizer_info, room
from lenrl.monitors.local import LocalMonitor
from lenrl.monitors.progress_bar import ProgressBar
from lenrl.monitors.trackers import set_aside
from lenrl.strategies.base import RunInfo
from lenrl.tasks.audit import Audit
from lenrl.tasks.base import digest
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import Prompts
from lenrl.training import data_identity
from lenrl.training.distributed import outcome
from lenrl.training.evaluation import EvaluationInTraining, EvaluationsInTraining
from lenrl.training.hardware import attention, mixed_precision, this_machine
from lenrl.training.peft import peft_config
from lenrl.training.prepare import CheckedRun, GRPOConfig, audited, audited_others
from lenrl.training.rollout import ProblemSet
from lenrl.training.signals import StopSignal
from lenrl.training.trainer import LenrlTrainer
from lenrl.verify.several import Verifiers

log = logging.getLogger("lenrl")


def build(
    checked_run: CheckedRun, config: GRPOConfig, stop: StopSignal | None = None
) -> tuple[LenrlTrainer, Verifiers]:
    """The trainer of a checked run, and the verifiers that it uses, which the caller closes.

    Args:
        checked_run: what `lenrl.training.prepare.prepare` gave.
        config: what `lenrl.training.prepare.grpo_config` made of it for the run's folder.
        stop: what this process knows of signals.

    Raises:
        BadInput: the data cannot be used; before the model is loaded.
    """
    recipe = checked_run.recipe
    transformers_logging.disable_progress_bar()
    os.environ.setdefault("WANDB_PROJECT", recipe.logging.project)  # its callback reads nothing else
    info = load_tokenizer_info(recipe.model.path, recipe.model, needs_config=True)
    prompts = Prompts(checked_run.task, info.tokenizer)
    verifiers = Verifiers()
    verifier = verifiers.of(checked_run.verifier)
    longest = room(info.context, checked_run.run_info.max_length)
    others = (
        audited_others(checked_run, info.tokenizer, verifiers.of, info.context)
        if checked_run.evaluates
        else []
    )
    elsewhere = [problem for problems, _ in others for problem in problems]
    kept, audits, run_info = audited(checked_run, info.tokenizer, verifier, longest, elsewhere=elsewhere)
    audits += [audit for _, audit in others]
    data_digest = digest(checked_run.task, kept["train"])
    same_on_every_process(recipe.digest(), data_digest)
    if PartialState().is_main_process:
        data_identity.write(Path(str(config.output_dir)), checked_run.task, kept)
        for warning in [*checked_run.warnings, *(w for audit in audits for w in audit.warnings)]:
            log.warning(warning)
    problem_set = ProblemSet({p.id: p for p in kept["train"]}, prompts, verifier, info.think_prefilled)
    trainer = _trainer(
        recipe,
        config,
        run_info=run_info,
        problem_set=problem_set,
        info=info,
        evaluated=[*kept.get("dev", []), *elsewhere],
        data_digest=data_digest,
        stop=stop,
    )
    evaluations = _evaluations(checked_run, trainer, info, kept.get("dev", []), others, verifiers)
    trainer.dev = EvaluationsInTraining(evaluations) if evaluations else None
    return trainer, verifiers


def _trainer(
    recipe: Recipe,
    config: GRPOConfig,
    *,
    run_info: RunInfo,
    problem_set: ProblemSet,
    info: TokenizerInfo,
    evaluated: Sequence[Problem],
    data_digest: str,
    stop: StopSignal | None,
) -> LenrlTrainer:
    """The trainer with its monitors; it evaluates if there are problems for that, which our own code samples."""
    state, run_dir, prompts = PartialState(), Path(str(config.output_dir)), problem_set.prompts
    train = problem_set.problems.values()
    _choose_attention(recipe, config, info)
    trainer = LenrlTrainer(
        method=recipe.method,
        run_info=run_info,
        problem_set=problem_set,
        monitor=LocalMonitor(
            run_dir, state.is_main_process, recipe.logging.completions, recipe.logging.every
        ),
        guard=recipe.guard,
        update=recipe.update,
        origin={"recipe": recipe.identity(), "data": data_digest},
        stop=stop,
        model=find(recipe.model.path),
        args=config,
        train_dataset=Dataset.from_list([prompts.row(p) for p in train]),
        eval_dataset=Dataset.from_list([prompts.row(evaluated[0])]) if evaluated else None,
        processing_class=prompts.tokenizer,
        peft_config=peft_config(recipe.model.peft),
        callbacks=[ProgressBar()],
    )
    trainer.remove_callback(PrinterCallback)
    kinds = get_reporting_integration_callbacks(config.report_to)
    set_aside(trainer.callback_handler.callbacks, kinds, run_dir, state.is_main_process)
    return trainer


def _choose_attention(recipe: Recipe, config: GRPOConfig, info: TokenizerInfo) -> None:
    """Load the model with the attention that this machine is fast with, unless the recipe names one."""
    assert info.config is not None
    machine = this_machine()
    name, _ = attention(recipe, info.config, mixed_precision(recipe, machine)[0], machine)
    if name is not None:
        options: Any = config.model_init_kwargs or {}
        config.model_init_kwargs = {**options, "attn_implementation": name}


def _evaluations(
    checked_run: CheckedRun,
    trainer: LenrlTrainer,
    info: TokenizerInfo,
    dev: Sequence[Problem],
    others: Sequence[tuple[Sequence[Problem], Audit]],
    verifiers: Verifiers,
) -> dict[str, EvaluationInTraining]:
    """The evaluation of the development problems, under no name, and those of other data.

    The former is sampled as the rollouts are; the latter as `lenrl eval` does, without a budget's words.
    """
    config, run_info, recipe = trainer.args, trainer.rollout.run_info, checked_run.recipe
    state = PartialState()

    def alone(doing: str, work: Callable[[], list]) -> list:
        """This process's rows; its error ends every process."""
        return trainer.group.settled(trainer.sampling.run(doing, lambda: outcome(work)))

    info = replace(info, eos_ids=list(trainer.eos_token_ids))
    sampled = {
        "run_info": run_info,
        "share": slice(state.process_index, None, state.num_processes),
        "info": info,
        "batches": Batches(recipe.update.eval_batch_size),
        "alone": alone,
    }
    found = {}
    if dev:
        decoding = Decoding(
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k or 0,
            max_new_tokens=run_info.max_length,
            seed=recipe.seed,
        )
        asked = trainer.rollout.problem_set
        found[""] = EvaluationInTraining(
            dev, asked.prompts, recipe.budget, asked.verifier, decoding, **sampled
        )
    for other, (problems, _) in zip(checked_run.others, others, strict=False):
        prompts, judge = Prompts(other.task, info.tokenizer), verifiers.of(other.verifier)
        [decoding] = other.settings.each_decoding()
        found[other.entry.name] = EvaluationInTraining(problems, prompts, None, judge, decoding, **sampled)
    return found


def same_on_every_process(*digests: str) -> None:
    """Refuse, on every process at once, to train where processes have different recipes or data."""
    pairs = gather_object([digests])
    if len(set(pairs)) > 1:
        raise BadInput(
            f"the processes disagree on (recipe, data): {pairs}. Start all of them with the same files and overrides."
        )
