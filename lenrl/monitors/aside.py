"""A callback of transformers in a thread of its own: its faults must neither end nor delay a run."""

import copy
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lenrl.redact import printable

log = logging.getLogger("lenrl")

WAITING = 1000  # events that a tracker may be behind; later ones are dropped
HANDED = ("logs", "metrics", "model", "processing_class")  # arguments of an event
Preparation = Callable[[TrainingArguments, TrainerState], None]
Moment = tuple[TrainingArguments, TrainerState, TrainerControl]  # of the training, at an event
Event = tuple[str | Callable[[], None], Moment | None, dict[str, Any]]  # a callback's method, or what ends it


class Aside(TrainerCallback):
    """A callback of transformers in a thread of its own, so that one that blocks delays nothing.

    Its first exception gives one warning, and switches it off.

    Args:
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
        self.silent = False  # it did not answer; else, if broken, it has failed
        self._events: queue.Queue[Event] = queue.Queue(waiting)
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
            self._give_up(f"is {self._events.maxsize} events behind", silent=True)

    def _work(self) -> None:
        own_args = None  # the run's arguments, which `prepare` may change for this callback
        while True:
            event, moment, taken = self._events.get()
            try:
                if self.broken:
                    continue
                if callable(event):
                    event()
                else:
                    assert moment is not None
                    args, state, control = moment
                    if own_args is None:
                        own_args = copy.copy(args)
                        self.prepare(own_args, state)
                    getattr(self.callback, event)(own_args, state, control, **taken)
            except Exception as fault:
                name = event if isinstance(event, str) else "finish"
                self._give_up(f"failed in {name} ({type(fault).__name__}: {printable(str(fault), 300)})")
            finally:
                self._events.task_done()

    def _give_up(self, why: str, silent: bool = False) -> None:
        if not self.broken:
            self.broken, self.silent = True, silent
            log.warning(
                "%s %s: it gets nothing more of this run. Training goes on, metrics.jsonl is complete.",
                self.name, why,
            )  # fmt: skip

    def end(self, finish: Callable[[], None]) -> None:
        """Call this after the last event, in the thread of the events; where there was none, not at all."""
        if self._started and not self.broken:
            with suppress(queue.Full):  # it is about to be given up
                self._events.put_nowait((finish, None, {}))

    def flush(self, until: float) -> None:
        """Wait until it has got everything, or until then (monotonic seconds)."""
        while self._events.unfinished_tasks and not self.broken:
            if time.monotonic() > until:
                self._give_up(f"does not answer ({self._events.unfinished_tasks} events behind)", silent=True)
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
