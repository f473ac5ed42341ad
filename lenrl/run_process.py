"""One process of a run: trains as the recipe says, from the newest whole checkpoint, and writes the final model.

Started by `lenrl train` through `accelerate launch`, or by hand:

    accelerate launch --config_file recipes/launch/cpu.yaml scripts/train.py --config-name drpo trainer.max_steps=10
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl.config import Recipe, compose
from lenrl.errors import BadInput, LenrlError
from lenrl.files import write_json
from lenrl.redact import Redacting, printable
from lenrl.training.signals import Stopped, StopSignal

if TYPE_CHECKING:
    from lenrl.training.trainer import SlottedGRPO

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
    parser = argparse.ArgumentParser(prog="lenrl.run_process", description="one process of a training run")
    parser.add_argument("--config-name", required=True, metavar="RECIPE", help="name or path of a recipe")
    parser.add_argument("--plugin", action="append", default=[], type=Path, metavar="FILE.py")
    parser.add_argument("-m", "--multirun", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Redacting())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # TRL calls them by names that transformers has begun to deprecate.
    deprecated = ".(is_gradient_checkpointing|gradient_checkpointing_(enable|disable)). is deprecated"
    warnings.filterwarnings("ignore", message=deprecated, category=FutureWarning)
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
        (say or partial(print, file=sys.stderr))(printable(f"error: {fault}"))
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

    from lenrl.monitors import trackers
    from lenrl.training.build import build
    from lenrl.training.grpo_config import grpo_config
    from lenrl.training.hardware import PRECISION, mixed_precision, this_machine
    from lenrl.training.prepare import prepare
    from lenrl.training.watchdog import Watchdog, store_of

    checked_run = prepare(recipe, int(os.environ.get("WORLD_SIZE", "1")))
    recipe = checked_run.recipe
    run_dir = recipe.run_dir().absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    stop = stop or StopSignal()
    start = None
    if os.environ.get("RANK", "0") == "0":  # checksums are read once; a refusal ends all processes
        start = starting_point(recipe, run_dir, checked_run.layout.processes)
    # accelerate and DeepSpeed read it wherever transformers says nothing
    os.environ[PRECISION] = mixed_precision(recipe, this_machine())[0]
    config = grpo_config(checked_run, run_dir)  # it tells the process group whether there is a GPU
    state = PartialState()
    [start] = broadcast_object_list([start])
    trainer, verifiers = build(checked_run, config, stop)
    watchdog = Watchdog(
        stop,
        run_dir,
        rank=state.process_index,
        processes=state.num_processes,
        hang_timeout_s=recipe.guard.hang_timeout_s,
        store=store_of(state.num_processes),
        end=end,
    )
    with watchdog, verifiers:
        train(trainer, run_dir, start)
        save_model(trainer, run_dir / "model")
    if state.is_main_process:
        write_json(run_dir / "training.json", summary(trainer))
    state.wait_for_everyone()
    stop.agree()  # a signal while the model was written: the run is trained, and what follows must not begin
    if end is not None and trackers.silent(run_dir):
        end(0, "")  # such a tracker's library would wait for its server once more when Python ends
    return run_dir


def train(
    trainer: SlottedGRPO, run_dir: Path, start: Path | None, go: Callable[..., Any] | None = None
) -> Any:
    """Train to the end, from a checkpoint if there is one; `go` is the trainer's `train`, and its value is given.

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
    patience_s = trackers.CLOSE_S
    try:
        output = (go or trainer.train)(resume_from_checkpoint=str(start) if start else None)
        patience_s = trackers.PATIENCE_S
        return output
    except Stopped:
        trainer.leave()
        raise
    finally:
        # A script's runs in its trackers are its own to finish.
        ends = go is None and patience_s == trackers.PATIENCE_S
        trackers.close(trainer.callback_handler.callbacks, run_dir, patience_s, finish=ends)


def summary(trainer: SlottedGRPO) -> dict[str, int | float | str | None]:
    """The content of a trained run's `training.json`."""
    state = trainer.state
    best = state.best_metric
    return {
        "steps": state.global_step,
        "seconds": round(trainer.clock.seconds, 3),
        "best_checkpoint": state.best_model_checkpoint,
        "best_step": state.best_global_step,
        "best_metric": trainer.args.metric_for_best_model,
        "best_value": best if best is not None and math.isfinite(best) else None,
    }


def save_model(trainer: SlottedGRPO, folder: Path) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
