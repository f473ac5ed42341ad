"""wandb, trackio and tensorboard, next to the local log: their faults must neither end nor delay a run."""

import copy
import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lenrl.files import read_json, write_json
from lenrl.redact import printable

log = logging.getLogger("lenrl")

WAITING = 1000  # events that a tracker may be behind; later ones are dropped
FLUSH_S = 20.0  # at the end of the training, for what it has not got yet
CLOSE_S = 3.0  # the same, once a run is to leave
HANDED = ("logs", "metrics", "model", "processing_class")  # arguments of an event
Preparation = Callable[[TrainingArguments, TrainerState], None]
Moment = tuple[TrainingArguments, TrainerState, TrainerControl]  # of the training, at an event


class Aside(TrainerCallback):
    """A callback of transformers in a thread of its own, so that one that blocks delays nothing.

    Its first exception gives one warning, and switches it off.

    Args:
        callback: the callback.
        prepare: called in the thread before the first event, with a copy of the run's arguments, which all
            events then get, and the state.
        waiting: events that it may be behind.
    """

    def __init__(
        self,
        callback: TrainerCallback,
        prepare: Preparation = lambda args, state: None,
        waiting: int = WAITING,
    ) -> None:
        self.callback = callback
        self.prepare = prepare
        self.broken = False
        self._events: queue.Queue[tuple[str, Moment, dict[str, Any]]] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, daemon=True, name=type(callback).__name__)
        self._started = False

    @property
    def name(self) -> str:
        """The callback's class."""
        return type(self.callback).__name__

    def _hand(self, event: str, moment: Moment, arguments: dict[str, Any]) -> None:
        if self.broken:
            return
        if not self._started:
            self._started = True
            self._thread.start()
        args, state, control = moment
        taken = {key: arguments[key] for key in HANDED if key in arguments}
        taken |= {key: dict(taken[key]) for key in ("logs", "metrics") if taken.get(key) is not None}
        try:
            self._events.put_nowait((event, (args, copy.copy(state), copy.copy(control)), taken))
        except queue.Full:
            self._give_up(f"is {self._events.maxsize} events behind")

    def _work(self) -> None:
        own_args = None  # the run's arguments, which `prepare` may change for this callback
        while True:
            event, (args, state, control), taken = self._events.get()
            try:
                if not self.broken:
                    if own_args is None:
                        own_args = copy.copy(args)
                        self.prepare(own_args, state)
                    getattr(self.callback, event)(own_args, state, control, **taken)
            except Exception as fault:
                self._give_up(f"failed in {event} ({type(fault).__name__}: {printable(str(fault), 300)})")
            finally:
                self._events.task_done()

    def _give_up(self, why: str) -> None:
        if not self.broken:
            self.broken = True
            log.warning(
                "%s %s: it gets nothing more of this run. Training goes on, metrics.jsonl is complete.",
                self.name, why,
            )  # fmt: skip

    def flush(self, seconds: float) -> None:
        """Wait until it has got everything, or for so many seconds."""
        until = time.monotonic() + seconds
        while self._events.unfinished_tasks and not self.broken:
            if time.monotonic() > until:
                self._give_up(f"does not answer ({self._events.unfinished_tasks} events behind)")
            time.sleep(0.02)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self._hand("on_train_begin", (args, state, control), kwargs)

    def on_log(self, args, state, control, **kwargs) -> None:
        self._hand("on_log", (args, state, control), kwargs)

    def on_evaluate(self, args, state, control, **kwargs) -> None:
        self._hand("on_evaluate", (args, state, control), kwargs)

    def on_save(self, args, state, control, **kwargs) -> None:
        self._hand("on_save", (args, state, control), kwargs)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self._hand("on_train_end", (args, state, control), kwargs)
        self.flush(FLUSH_S)


def set_aside(callbacks: list[TrainerCallback], kinds: Sequence[type], run_dir: Path, is_main: bool) -> None:
    """Wrap the callbacks of these kinds in `Aside`, in place; other processes than the main one lose them."""
    for place, callback in reversed(list(enumerate(callbacks))):
        if not isinstance(callback, tuple(kinds)):
            continue
        if is_main:
            continuing = CONTINUING.get(type(callback).__name__)
            callbacks[place] = (
                Aside(callback, continuing(callback, run_dir)) if continuing else Aside(callback)
            )
        else:
            del callbacks[place]


def close(callbacks: Iterable[TrainerCallback]) -> None:
    """Give the trackers a moment for their last events: the run ends."""
    for callback in callbacks:
        if isinstance(callback, Aside):
            callback.flush(CLOSE_S)


def _wandb(callback: TrainerCallback, run_dir: Path) -> Preparation:
    def begin(args: TrainingArguments, state: TrainerState) -> None:
        import wandb

        if wandb.run is None:  # else somebody has begun a run for this process
            identity = run_id(run_dir, "wandb", os.environ.get("WANDB_RUN_ID"))
            project = os.environ.get("WANDB_PROJECT") or args.project
            wandb.init(project=project, name=args.run_name, id=identity, resume="allow")

    return begin


def _trackio(callback: TrainerCallback, run_dir: Path) -> Preparation:
    def begin(args: TrainingArguments, state: TrainerState) -> None:
        # trackio resumes by name: two folders with runs of one name must not become one run
        args.run_name = trackio_name(args.run_name, run_dir)

    return begin


def _tensorboard(callback: Any, run_dir: Path) -> Preparation:
    def begin(args: TrainingArguments, state: TrainerState) -> None:
        # Without it each leg would have a folder of its own; what a killed leg wrote past the checkpoint is hidden.
        folder = callback.logging_dir or str(run_dir / "tensorboard")
        callback.tb_writer = callback._SummaryWriter(log_dir=folder, purge_step=state.global_step + 1)

    return begin


# By class: what makes a tracker continue the run that an earlier leg began.
CONTINUING = {"WandbCallback": _wandb, "TrackioCallback": _trackio, "TensorBoardCallback": _tensorboard}


def trackio_name(run_name: str | None, run_dir: Path) -> str:
    """The name under which trackio knows the run of this folder."""
    return f"{run_name}-{run_id(run_dir, 'trackio')}"


def run_id(run_dir: Path, tracker: str, chosen: str | None = None) -> str:
    """The tracker's name for the run of this folder: `chosen`, else the one in `trackers.json`, else a new one."""
    path = run_dir / "trackers.json"
    content = read_json(path)
    known = content if isinstance(content, dict) else {}
    identity = chosen or known.get(tracker) or secrets.token_hex(4)
    if known.get(tracker) != identity:
        write_json(path, {**known, tracker: identity}, indent=None)
    return identity
