"""The trainer of a run with its data, verifier, monitors and evaluation, from a checked recipe."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PrinterCallback
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.utils import logging as transformers_logging

from lenrl.config import Recipe, short_digest
from lenrl.errors import BadInput
from lenrl.generation.base import Batches, Decoding
from lenrl.generation.pretrained import TokenizerInfo, find, load_tokenizer_info, refuse_pickles, room
from lenrl.monitors.local import LocalMonitor
from lenrl.monitors.progress_bar import ProgressBar
from lenrl.monitors.trackers import set_aside
from lenrl.tasks.audit import Audit
from lenrl.tasks.problem import Problem
from lenrl.tasks.prompts import Prompts
from lenrl.training import data_identity
from lenrl.training.audited_data import audited, audited_others
from lenrl.training.distributed import outcome
from lenrl.training.evaluation import EvaluationInTraining, EvaluationsInTraining
from lenrl.training.grpo_config import GRPOConfig
from lenrl.training.hardware import attention, mixed_precision, this_machine
from lenrl.training.peft import name_base, peft_config
from lenrl.training.prepare import CheckedRun
from lenrl.training.problem_set import ProblemSet
from lenrl.training.signals import StopSignal
from lenrl.training.trainer import RunParts, SlottedGRPO
from lenrl.verify.several import Verifiers

log = logging.getLogger("lenrl")


@dataclass(frozen=True)
class Built:
    """All that a run needs but the trainer itself, which TRL makes of a model."""

    checked_run: CheckedRun
    parts: RunParts
    info: TokenizerInfo
    verifiers: Verifiers  # of this process; the caller closes them
    kept: dict[str, list[Problem]]  # the usable problems by split
    others: list[tuple[list[Problem], Audit]]  # those of other data, in the order of the recipe's `evals`

    def note_data(self, run_dir: Path) -> None:
        """Write the hashes of the problems into a run's folder; for the main process."""
        data_identity.write(run_dir, self.checked_run, self.kept)

    def data(self) -> dict[str, Dataset | None]:
        """`train_dataset` for TRL, rows with the ids of their problems, and an `eval_dataset` if the run evaluates.

        Our own code samples in evaluations: TRL must only see that there is a data set.
        """
        prompts = self.parts.problem_set.prompts
        rows = [prompts.row(p) for p in self.parts.problem_set.problems.values()]
        evaluated = [*self.kept.get("dev", []), *(p for problems, _ in self.others for p in problems)]
        return {
            "train_dataset": Dataset.from_list(rows),
            "eval_dataset": Dataset.from_list([prompts.row(evaluated[0])]) if evaluated else None,
        }

    def equip(self, trainer: SlottedGRPO) -> None:
        """Give a trainer of these parts its trackers, and its evaluations if there are problems for them."""
        name_base(trainer.model, self.checked_run.recipe.model.revision)
        trainer.remove_callback(PrinterCallback)
        kinds = get_reporting_integration_callbacks(trainer.args.report_to)
        run_dir, is_main = Path(str(trainer.args.output_dir)), PartialState().is_main_process
        settings = self.checked_run.recipe.logging
        set_aside(trainer.callback_handler.callbacks, kinds, run_dir, settings if is_main else None)
        evaluations = _evaluations(self, trainer)
        trainer.dev = EvaluationsInTraining(evaluations) if evaluations else None


def build(
    checked_run: CheckedRun, config: GRPOConfig, stop: StopSignal | None = None
) -> tuple[SlottedGRPO, Verifiers]:
    """The trainer of a checked recipe's run, and the verifiers that it uses, which the caller closes.

    Args:
        checked_run: what `lenrl.training.prepare.prepare` gave.
        config: what `lenrl.training.grpo_config.grpo_config` made of it for the run's folder.
        stop: what this process knows of signals.

    Raises:
        BadInput: the data cannot be used; before the model is loaded.
    """
    model = checked_run.recipe.model
    refuse_pickles(find(model.path))
    info = load_tokenizer_info(model.path, model, needs_config=True)
    built = build_parts(checked_run, Path(str(config.output_dir)), info, stop)
    _choose_attention(checked_run.recipe, config, info)
    trainer = SlottedGRPO(
        built.parts,
        model=find(model.path),
        args=config,
        processing_class=info.tokenizer,
        peft_config=peft_config(model.peft),
        callbacks=[ProgressBar()],
        **built.data(),
    )
    built.equip(trainer)
    if PartialState().is_main_process:
        built.note_data(Path(str(config.output_dir)))
    return trainer, built.verifiers


def build_parts(
    checked_run: CheckedRun, run_dir: Path, info: TokenizerInfo, stop: StopSignal | None = None
) -> Built:
    """The audited data of a run, its verifier and its monitor, and what its trainer is made of.

    Raises:
        BadInput: the data cannot be used.
    """
    recipe = checked_run.recipe
    transformers_logging.disable_progress_bar()
    os.environ.setdefault("WANDB_PROJECT", recipe.logging.project)  # its callback reads nothing else
    prompts = Prompts(checked_run.task, info.tokenizer)
    verifiers = Verifiers()
    verifier, evaluates = verifiers.of(checked_run.verifier), checked_run.evaluates
    longest = room(info.context, checked_run.run_info.max_length)
    others = audited_others(checked_run, info.tokenizer, verifiers.of, info.context) if evaluates else []
    elsewhere = [problem for problems, _ in others for problem in problems]
    kept, audits, run_info = audited(checked_run, info.tokenizer, verifier, longest, elsewhere=elsewhere)
    audits += [audit for _, audit in others]
    data_digest = data_identity.data_digest(checked_run, kept["train"])
    same_on_every_process(short_digest(checked_run.identity), data_digest)
    is_main = PartialState().is_main_process
    if is_main:
        for warning in [*checked_run.warnings, *(w for audit in audits for w in audit.warnings)]:
            log.warning(warning)
    parts = RunParts(
        method=checked_run.method,
        run_info=run_info,
        problem_set=ProblemSet({p.id: p for p in kept["train"]}, prompts, verifier, info.think_prefilled),
        monitor=LocalMonitor(run_dir, is_main, recipe.logging.completions, recipe.logging.every),
        guard=recipe.guard,
        update=recipe.update,
        origin={"recipe": checked_run.identity, "data": data_digest},
        stop=stop or StopSignal(),
    )
    return Built(checked_run, parts, info, verifiers, kept, others)


def _choose_attention(recipe: Recipe, config: GRPOConfig, info: TokenizerInfo) -> None:
    """Load the model with the attention that this machine is fast with, unless the recipe names one."""
    assert info.config is not None
    machine = this_machine()
    name, _ = attention(recipe, info.config, mixed_precision(recipe, machine)[0], machine)
    if name is not None:
        options: Any = config.model_init_kwargs or {}
        config.model_init_kwargs = {**options, "attn_implementation": name}


def _evaluations(built: Built, trainer: SlottedGRPO) -> dict[str, EvaluationInTraining]:
    """The evaluation of the development problems, under no name, and those of other data.

    The former is sampled as the rollouts are; the latter as `lenrl eval` does, without a budget's words.
    """
    config, run_info, recipe = trainer.args, trainer.rollout.run_info, built.checked_run.recipe
    state, dev = PartialState(), built.kept.get("dev", [])

    def alone(doing: str, work: Callable[[], list]) -> list:
        """This process's rows; its error ends every process."""
        return trainer.group.settled(trainer.sampling.run(doing, lambda: outcome(work)))

    info = replace(built.info, eos_ids=list(trainer.eos_token_ids))
    sampled = {
        "run_info": run_info,
        "share": slice(state.process_index, None, state.num_processes),
        "info": info,
        "batches": Batches(recipe.update.eval_batch_size),
        "alone": alone,
        "trainer_state": lambda: trainer.state,
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
            dev,
            asked.prompts,
            built.checked_run.method,
            asked.verifier,
            decoding,
            **sampled,
            record=trainer.monitor.dev_problems,
        )
    for other, (problems, _) in zip(built.checked_run.others, built.others, strict=False):
        prompts, judge = Prompts(other.task, info.tokenizer), built.verifiers.of(other.verifier)
        [decoding] = other.settings.each_decoding()
        method = built.checked_run.method if other.as_trained else None
        found[other.entry.name] = EvaluationInTraining(problems, prompts, method, judge, decoding, **sampled)
    return found


def same_on_every_process(*digests: str) -> None:
    """Refuse, on every process at once, to train where processes have different recipes or data."""
    pairs = gather_object([digests])
    if len(set(pairs)) > 1:
        raise BadInput(
            f"the processes disagree on (recipe, data): {pairs}. Start all of them with the same files and overrides."
        )
