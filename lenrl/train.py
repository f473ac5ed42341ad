"""The composition root: builds model, data, verifier and trainer from a recipe, and trains. Runs in every process.

Started by `lenrl train` through `accelerate launch`, or by hand:

    accelerate launch --config_file recipes/launch/cpu.yaml scripts/train.py --config-name drpo trainer.max_steps=10
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lenrl.config import Recipe, compose
from lenrl.errors import BadInput, LenrlError
from lenrl.redact import Redacting, redacted
from lenrl.training.signals import Stopped, StopSignal

if TYPE_CHECKING:
    from lenrl.generation.pretrained import TokenizerInfo
    from lenrl.strategies.base import RunInfo
    from lenrl.tasks.problem import Problem
    from lenrl.training.prepare import CheckedRun, GRPOConfig
    from lenrl.training.rollout import ProblemSet
    from lenrl.training.trainer import LenrlTrainer
    from lenrl.verify.pool import Verifier

log = logging.getLogger("lenrl")


def main(
    arguments: Sequence[str] | None = None,
    say: Callable[[str], None] | None = None,
    stop: StopSignal | None = None,
    end: Callable[[int, str], None] | None = None,
) -> int:
    """Entry of a training process; the exit code follows from the error (`LenrlError.exit_code`).

    Args:
        arguments: of the command line; default: this process's.
        say: prints the message of an error; default: on standard error.
        stop: what this process knows of signals, its handlers installed; default: it handles no signal.
        end: ends the process when the run hangs.
    """
    parser = argparse.ArgumentParser(prog="lenrl.train", description="one process of a training run")
    parser.add_argument("--config-name", required=True, metavar="RECIPE", help="name or path of a recipe")
    parser.add_argument("--plugin", action="append", default=[], type=Path, metavar="FILE.py")
    parser.add_argument("-m", "--multirun", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Redacting())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # TRL's own default for gradient checkpointing goes by the name that transformers has begun to deprecate.
    warnings.filterwarnings("ignore", message=".*checkpointing. is deprecated", category=FutureWarning)
    try:
        if options.multirun:
            raise BadInput(
                "--multirun inside a launch would let two experiments share one process group. "
                "`lenrl sweep RECIPE key=a,b` starts one launch for each setting."
            )
        recipe = compose(options.config_name, options.overrides, options.plugin)
        run(recipe, stop, end)
    except LenrlError as fault:
        if os.environ.get("LENRL_DEBUG"):
            raise
        (say or partial(print, file=sys.stderr))(redacted(f"error: {fault}"))
        return fault.exit_code
    return 0


def run(
    recipe: Recipe, stop: StopSignal | None = None, end: Callable[[int, str], None] | None = None
) -> Path:
    """Train as the recipe says and write the final model to `model/` of the run's folder, which is returned.

    Raises:
        BadInput: the recipe, its data or the folder's checkpoint cannot be used.
        RunFailed: a guard stopped the run.
        Stopped: a signal did; the checkpoint of the last optimizer step is written.
    """
    from accelerate import PartialState  # heavy imports after the arguments were read
    from accelerate.utils import broadcast_object_list

    from lenrl.training.prepare import grpo_config, prepare
    from lenrl.training.watchdog import Watchdog, store_of

    checked_run = prepare(recipe, int(os.environ.get("WORLD_SIZE", "1")))
    run_dir = recipe.run_dir().absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    stop = stop or StopSignal()
    start = None
    if os.environ.get("RANK", "0") == "0":  # checksums are read once; a refusal ends all processes
        start = starting_point(recipe, run_dir, checked_run.layout.processes)
    config = grpo_config(checked_run, run_dir)  # it tells the process group whether there is a GPU
    state = PartialState()
    [start] = broadcast_object_list([start])
    trainer, verifier = build(checked_run, config, stop)
    watchdog = Watchdog(
        stop,
        run_dir,
        rank=state.process_index,
        processes=state.num_processes,
        hang_timeout_s=recipe.guard.hang_timeout_s,
        store=store_of(state.num_processes),
        end=end,
    )
    with watchdog, verifier:
        train(trainer, run_dir, start)
        save_model(trainer, run_dir / "model")
    if state.is_main_process:
        (run_dir / "training.json").write_text(json.dumps(summary(trainer), indent=2) + "\n")
    state.wait_for_everyone()
    stop.agree()  # a signal while the model was written: the run is trained, and what follows must not begin
    return run_dir


def train(trainer: LenrlTrainer, run_dir: Path, start: Path | None) -> None:
    """Train to the end, from a checkpoint if there is one.

    Raises:
        Stopped: a signal ended it; the checkpoint of the last optimizer step is written.
    """
    from lenrl.monitors import trackers
    from lenrl.training import checkpoint

    if start is not None:
        log.info("continuing from %s", start)
        trainer.restore(start)
        # The run's own first evaluation stands in the checkpoint.
        trainer.args.eval_on_start = trainer.evaluation.due
    step = -1 if start is None else checkpoint.step_of(start)
    trainer.monitor.resume(step, trainer.evaluation.due)
    if trainer.accelerator.is_main_process:
        checkpoint.set_aside_after(run_dir, start)
    trainer.stop.begin()
    try:
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    except Stopped:
        trainer.leave()
        raise
    finally:
        trackers.close(trainer.callback_handler.callbacks)


def summary(trainer: LenrlTrainer) -> dict[str, int | float | str | None]:
    """The content of a trained run's `training.json`."""
    state = trainer.state
    best = state.best_metric
    return {
        "steps": state.global_step,
        "seconds": round(trainer.clock.seconds, 3),
        "best_checkpoint": state.best_model_checkpoint,
        "best_step": state.best_global_step,
        "best_aes": best if best is not None and math.isfinite(best) else None,
    }


def save_model(trainer: LenrlTrainer, folder: Path) -> None:
    """Weights and tokenizer, gathered from all processes; without the pickle that transformers puts beside them.

    Raises:
        RunFailed: they could not be written, or are not all there.
    """
    from lenrl.training import checkpoint

    main = trainer.accelerator.is_main_process
    with checkpoint.atomic_folder(folder.parent, folder.name, is_main=main) as part:
        trainer.save_model(str(part))
        trainer.accelerator.wait_for_everyone()
        if main:
            (part / "training_args.bin").unlink(missing_ok=True)
            checkpoint.check_saved(part, trainer.model)
            checkpoint.publish(part, manifest=False)


def starting_point(recipe: Recipe, run_dir: Path, processes: int) -> Path | None:
    """The checkpoint that the run goes on from, verified; None: it begins.

    Raises:
        BadInput: `resume` names none, or what there is cannot be continued.
    """
    from lenrl.training import checkpoint

    checkpoint.clean(run_dir)
    start = checkpoint.chosen(run_dir, recipe.resume)
    if start is not None:
        with_changes = recipe.resume_with_changes
        checkpoint.accept(start, recipe=recipe.identity(), processes=processes, with_changes=with_changes)
    return start


def build(
    checked_run: CheckedRun, config: GRPOConfig, stop: StopSignal | None = None
) -> tuple[LenrlTrainer, Verifier]:
    """The trainer of a checked run, and the verifier that it uses.

    Args:
        checked_run: what `lenrl.training.prepare.prepare` gave.
        config: what `lenrl.training.prepare.grpo_config` made of it for the run's folder.
        stop: what this process knows of signals.

    Raises:
        BadInput: the data cannot be used; before the model is loaded.
    """
    from accelerate import PartialState
    from transformers.utils import logging as transformers_logging

    from lenrl.generation.pretrained import load_tokenizer_info, room
    from lenrl.tasks.base import digest
    from lenrl.tasks.prompts import Prompts
    from lenrl.training.prepare import audited
    from lenrl.training.rollout import ProblemSet
    from lenrl.verify.pool import Verifier

    recipe = checked_run.recipe
    transformers_logging.disable_progress_bar()
    os.environ.setdefault("WANDB_PROJECT", recipe.logging.project)  # its callback reads nothing else
    info = load_tokenizer_info(recipe.model.path, recipe.model, needs_config=True)
    prompts = Prompts(checked_run.task, info.tokenizer)
    verifier = Verifier(checked_run.verifier)
    longest = room(info.context, checked_run.run_info.max_length)
    kept, audits, run_info = audited(checked_run, info.tokenizer, verifier, longest)
    data_digest = digest(checked_run.task, kept["train"])
    same_on_every_process(recipe.digest(), data_digest)
    if PartialState().is_main_process:
        for warning in [*checked_run.warnings, *(w for audit in audits for w in audit.warnings)]:
            log.warning(warning)
    problem_set = ProblemSet({p.id: p for p in kept["train"]}, prompts, verifier, info.think_prefilled)
    trainer = _trainer(
        recipe,
        config,
        run_info=run_info,
        problem_set=problem_set,
        info=info,
        dev=kept.get("dev", []),
        data_digest=data_digest,
        stop=stop,
    )
    return trainer, verifier


def _trainer(
    recipe: Recipe,
    config: GRPOConfig,
    *,
    run_info: RunInfo,
    problem_set: ProblemSet,
    info: TokenizerInfo,
    dev: list[Problem],
    data_digest: str,
    stop: StopSignal | None,
) -> LenrlTrainer:
    """The trainer with its monitors, and its evaluation where there are development problems."""
    from accelerate import PartialState
    from datasets import Dataset
    from transformers import PrinterCallback
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    from lenrl.generation.pretrained import find
    from lenrl.monitors.local import LocalMonitor
    from lenrl.monitors.progress_bar import ProgressBar
    from lenrl.monitors.trackers import set_aside
    from lenrl.training.peft import peft_config
    from lenrl.training.trainer import LenrlTrainer

    state, run_dir, prompts = PartialState(), Path(str(config.output_dir)), problem_set.prompts
    train = problem_set.problems.values()
    trainer = LenrlTrainer(
        method=recipe.method,
        run_info=run_info,
        problem_set=problem_set,
        monitor=LocalMonitor(
            run_dir, state.is_main_process, recipe.logging.completions, recipe.logging.every
        ),
        guard=recipe.guard,
        origin={"recipe": recipe.identity(), "data": data_digest},
        stop=stop,
        model=find(recipe.model.path),
        args=config,
        train_dataset=Dataset.from_list([prompts.row(p) for p in train]),
        eval_dataset=Dataset.from_list([prompts.row(p) for p in dev]) if dev else None,
        processing_class=prompts.tokenizer,
        peft_config=peft_config(recipe.model.peft),
        callbacks=[ProgressBar()],
    )
    trainer.remove_callback(PrinterCallback)
    kinds = get_reporting_integration_callbacks(config.report_to)
    set_aside(trainer.callback_handler.callbacks, kinds, run_dir, state.is_main_process)
    if dev:
        share = dev[state.process_index :: state.num_processes]
        trainer.dev = _dev_evaluation(recipe, trainer, problem_set, info, share)
    return trainer


def _dev_evaluation(
    recipe: Recipe, trainer: LenrlTrainer, problem_set: ProblemSet, info: TokenizerInfo, dev: list[Problem]
) -> Callable[..., dict[str, float]]:
    """The evaluation of this process's share of the development problems, sampled as the rollouts are."""
    from lenrl.generation.base import Batches, Decoding
    from lenrl.training.evaluation import DevEvaluation

    config, run_info = trainer.args, trainer.rollout.run_info
    return DevEvaluation(
        dev,
        problem_set.prompts,
        partial(recipe.budget.evaluation, run_info=run_info),
        problem_set.verifier,
        replace(info, eos_ids=list(trainer.eos_token_ids)),
        Decoding(
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k or 0,
            max_new_tokens=run_info.max_length,
            seed=recipe.seed,
        ),
        Batches(recipe.update.eval_batch_size),
        trainer.sampling.run,
    )


def same_on_every_process(*digests: str) -> None:
    """Refuse, on every process at once, to train where processes have different recipes or data."""
    from accelerate.utils import gather_object

    pairs = gather_object([digests])
    if len(set(pairs)) > 1:
        raise BadInput(
            f"the processes disagree on (recipe, data): {pairs}. Start all of them with the same files and overrides."
        )


if __name__ == "__main__":
    sys.exit(main())
