"""Progress of a sweep: a live table on a terminal, elsewhere a line when a trial begins or ends."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

REFRESH_S = 1.0
QUIET_S = 60.0  # between lines on the trials that run, where there is no terminal


class Progress:
    """Shows the trials that run, what is done and how long the rest will take.

    Args:
        steps: optimizer steps of one trial.
        done: trials that were done before.
    """

    def __init__(self, console: Console, total: int, steps: int, done: int) -> None:
        self.console = console
        self.total = total
        self.steps = max(1, steps)
        self.done = done
        self.began = time.monotonic()
        self.shown = 0.0
        self.told = time.monotonic()
        self.seen: dict[int, tuple[float, float]] = {}  # of a trial: time and step at which it was first seen
        self.before: float | None = None  # share of the work that was done when this began
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def say(self, text: str, style: str = "") -> None:
        """Print a line that stays above the live table."""
        self.console.print(Text(text, style=style), soft_wrap=True)

    def due(self) -> bool:
        """It is time to look at the trials' files again."""
        return time.monotonic() - self.shown >= REFRESH_S

    def show(self, running: Mapping[int, tuple[Sequence[str], Mapping[str, Any]]]) -> None:
        """Redraw the live table; `running`: by trial, its overrides and the newest line of its `metrics.jsonl`."""
        self.shown = time.monotonic()
        self.seen = {
            n: self.seen.get(n, (self.shown, line.get("step", 0))) for n, (_, line) in running.items()
        }
        left = self.left([line.get("step", 0) for _, line in running.values()])
        footer = f"{self.done} of {self.total} trials done" + (f", {left} left" if left else "")
        if self.live is None:
            self._tell(running, footer)
            return
        table = Table(box=None)
        for name in ("trial", "", "step", "accuracy", "tokens", "left"):
            table.add_column(name, justify="left" if name == "" else "right")
        for number, (overrides, line) in running.items():
            table.add_row(
                str(number), " ".join(overrides), *self._figures(line), self._trial_left(number, line)
            )
        self.live.update(Group(table, Text(footer)), refresh=True)

    def _tell(self, running: Mapping[int, tuple[Sequence[str], Mapping[str, Any]]], footer: str) -> None:
        """Now and then a line a trial that runs, and one on all."""
        if self.shown - self.told < QUIET_S:
            return
        self.told = self.shown
        for number, (_, line) in running.items():
            step, accuracy, tokens = self._figures(line)
            left = self._trial_left(number, line)
            known = (f"accuracy {accuracy}" if accuracy else "", f"{tokens} tokens" if tokens else "")
            more = (*known, f"{left} left" if left else "")
            self.say(", ".join([f"trial {number}: step {step}", *filter(None, more)]))
        self.say(footer)

    def _figures(self, line: Mapping[str, Any]) -> tuple[str, str, str]:
        """Step, accuracy and tokens of the newest line of a trial's metrics."""
        accuracy, tokens = line.get("accuracy"), line.get("tokens_mean")
        return (
            f"{line.get('step', 0)}/{self.steps}",
            "" if accuracy is None else f"{accuracy:.1%}",
            "" if tokens is None else f"{tokens:.1f}",
        )

    def _trial_left(self, number: int, line: Mapping[str, Any]) -> str:
        """The time that a trial's other steps will take at its pace since it was first seen."""
        began, first = self.seen[number]
        gained = line.get("step", 0) - first
        if gained <= 0:
            return ""
        return _duration((self.shown - began) * (self.steps - line.get("step", 0)) / gained)

    def left(self, steps: Sequence[int]) -> str:
        """The time that the rest will take at the pace so far; empty while no work is done.

        Args:
            steps: optimizer steps of the trials that run.
        """
        work = self.done + sum(min(1.0, step / self.steps) for step in steps)
        if self.before is None:
            self.before = work
        gained = work - self.before
        if gained <= 0:
            return ""
        seconds = (time.monotonic() - self.began) * (self.total - work) / gained
        return _duration(seconds)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
