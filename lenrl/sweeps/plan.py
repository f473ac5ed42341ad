"""Trials of a sweep, and the folder that they go into."""

from __future__ import annotations

import fcntl
import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from lenrl.config import Axis, Grid, Recipe, compose, plugin_files, spread, word
from lenrl.config.recipe import short_digest
from lenrl.errors import BadInput
from lenrl.files import remove_drafts
from lenrl.launch.command import check, trusting
from lenrl.launch.run_folder import write_file
from lenrl.sweeps import ledger

MOST_TRIALS = 10_000
NOTE = "plan.json"
LOCK = "plan.lock"  # held while the plan is noted: the tasks of an array, which share the folder's own, come at once


class TrialRefused(BadInput):
    """The recipe of a trial can't be trained."""


@dataclass(frozen=True)
class Plan:
    """A grid over a recipe or, with `draws`, a search in the space that the grid spans."""

    recipe: str
    grid: Grid
    plugins: tuple[Path, ...] = ()
    draws: int | None = None

    @classmethod
    def read(
        cls, recipe: str, lines: Sequence[str], plugins: Sequence[Path] = (), draws: int | None = None
    ) -> Plan:
        """From the command line's words.

        Raises:
            BadInput: a line is wrong, nothing is swept, or the grid has too many trials or an interval.
        """
        plan = cls(recipe, spread(lines), tuple(plugins), draws)
        axes = plan.grid.axes
        if not axes:
            raise BadInput(
                "lenrl sweep: no key has several values. Write key=a,b, key=range(0,1,0.25) or, with --trials N, "
                "key=interval(0,1); `lenrl train` makes a single run."
            )
        interval = next((axis for axis in axes if not axis.values), None)
        if draws is None and interval is not None:
            key, low, high = interval.key, interval.low, interval.high
            raise BadInput(
                f"{key}=interval({low},{high}): a grid can't list an interval. Search in it with --trials N, or list "
                f"values: {key}={low},{high}."
            )
        if draws is None and plan.count > MOST_TRIALS:
            raise BadInput(
                f"the grid has {plan.count} trials, over {MOST_TRIALS}. Sweep fewer values, or --trials N."
            )
        return plan

    @property
    def count(self) -> int:
        """Number of trials; of a search in a small space perhaps fewer than `draws`."""
        if all(axis.values for axis in self.grid.axes):
            combinations = math.prod(len(axis.values) for axis in self.grid.axes)
            return combinations if self.draws is None else min(self.draws, combinations)
        assert self.draws is not None
        return self.draws

    def overrides(self, trial: int) -> list[str]:
        """Settings of a grid's trial beyond the sweep's own; the last key varies fastest."""
        settings = []
        for axis in reversed(self.grid.axes):
            trial, index = divmod(trial, len(axis.values))
            settings.append(f"{axis.key}={axis.values[index]}")
        return settings[::-1]

    def compose(self, overrides: Sequence[str]) -> Recipe:
        """The checked recipe of a trial.

        Raises:
            TrialRefused: with the overrides that it is about.
        """
        try:
            recipe = compose(self.recipe, [*self.grid.fixed, *overrides], self.plugins)
            check(recipe.launch)
        except BadInput as fault:
            raise TrialRefused(f"the trial {' '.join(overrides)} can't be trained:\n{fault}") from None
        return recipe

    @cached_property
    def first(self) -> Recipe:
        """The recipe at the first value of every key: what all trials share is taken from it."""
        named = [f"name={word(self.grid.name)}"] if self.grid.name is not None else []
        values = [f"{a.key}={a.values[0] if a.values else a.low}" for a in self.grid.axes]
        return self.compose([*values, *named])  # which refuses what is no name

    @cached_property
    def digest(self) -> str:
        """Eight hex digits of what shapes the results: recipe and axes; not `launch`, `logging` or how many draws."""
        axes = [asdict(axis) for axis in self.grid.axes]
        return short_digest([self.first.identity(), axes, self.draws is not None])

    @cached_property
    def folder(self) -> Path:
        """`output_dir` of the command line, or `outputs/sweeps/RECIPE/NAME`; absolute."""
        if self.grid.output_dir is not None:
            return Path(self.grid.output_dir).expanduser().absolute()
        return Path("outputs", "sweeps", self.first.recipe, self.first.name or self.digest).absolute()

    def settle(self) -> None:
        """Note the plan in the folder, `plan.json`.

        Raises:
            BadInput: the folder holds another sweep.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / LOCK, "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._settle(self.folder / NOTE)

    def _settle(self, path: Path) -> None:
        if path.exists():
            former: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if former["digest"] != self.digest:
                raise BadInput(
                    f"{self.folder} holds another sweep, or its recipe has changed since. It was\n"
                    f"  {former['command']}\nChoose another folder with name=... or output_dir=..."
                )
            return
        remove_drafts(self.folder, [NOTE])
        others = [p.name for p in self.folder.iterdir() if p.name not in ("lock", LOCK)]
        if others:
            raise BadInput(
                f"{self.folder} is not empty ({', '.join(sorted(others)[:4])}) and holds no sweep. Choose another "
                "folder with name=... or output_dir=..."
            )
        plan = {
            "digest": self.digest,
            "recipe": self.first.recipe,
            "command": self.command,
            "overrides": list(self.grid.fixed),
            "axes": [asdict(axis) for axis in self.grid.axes],
        }
        write_file(path, json.dumps(plan, indent=2) + "\n")

    @property
    def command(self) -> str:
        """The line that makes this sweep."""
        lines = [
            f"{a.key}={','.join(a.values)}" if a.values else f"{a.key}={_interval(a)}" for a in self.grid.axes
        ]
        places = {"name": self.grid.name, "output_dir": self.grid.output_dir}
        named = [f"{key}={word(value)}" for key, value in places.items() if value is not None]
        words = ["lenrl", "sweep", self.recipe, *self.grid.fixed, *lines, *named, *self._plugins()]
        return shlex.join(words + (["--trials", str(self.draws)] if self.draws is not None else []))

    def prepare(self, trial: int, overrides: Sequence[str]) -> None:
        """Write a trial's recipe out: what changes in the recipe's file later does not reach it.

        Raises:
            TrialRefused: the recipe is refused.
            BadInput: it can't be written.
        """
        composed = self.compose(overrides)
        recipe = composed.resolved()
        recipe |= {"name": None, "output_dir": str(self.folder / ledger.run_name(trial))}
        launch = recipe["launch"]
        if launch.get("num_processes", 1) > 1 and launch.get("num_machines", 1) == 1:
            launch["main_process_port"] = 0  # a free one: trials run side by side
        path = self._recipe(trial)
        path.parent.mkdir(parents=True, exist_ok=True)
        plugin_files.write_copies(composed.plugins, path.parent)
        write_file(path, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))

    def train(self, trial: int) -> list[str]:
        """The command of a prepared trial."""
        return [
            sys.executable,
            "-P",
            "-m",
            "lenrl.cli",
            "train",
            str(self._recipe(trial)),
            *trusting(self.first),
        ]

    def refuse_changes(self) -> None:
        """Of a search, whose trials are composed one by one.

        Raises:
            BadInput: the recipe's file has changed since the plan was read.
        """
        if Plan(self.recipe, self.grid, self.plugins, self.draws).digest != self.digest:
            raise BadInput(
                f"recipe {self.recipe!r} has changed while it was swept; the trials could not be compared. Change it "
                "back, or begin another sweep."
            )

    def by_hand(self, trial: ledger.Trial) -> str:
        """The line that makes a trial's run alone, under the sweep's name and the trial's number."""
        name = f"name={word(f'{self.folder.name}-{trial.run}')}"
        words = ["lenrl", "train", self.recipe, *self.grid.fixed, *trial.overrides, name, *self._plugins()]
        return shlex.join(words)

    def _recipe(self, trial: int) -> Path:
        return self.folder / "recipes" / f"{ledger.run_name(trial)}.yaml"

    def _plugins(self) -> list[str]:
        return [word for plugin in self.plugins for word in ("--plugin", str(plugin))]


def _interval(axis: Axis) -> str:
    text = f"interval({axis.low},{axis.high})"
    text = f"int({text})" if axis.whole else text
    return f"tag(log,{text})" if axis.log else text
