"""The end of a sweep: a table with the accuracy-tokens front, `sweep.json`, `sweep.csv`, and what to do next."""

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import compress
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lenrl.evaluation.by_hand import eval_command
from lenrl.launch.run_folder import write_file
from lenrl.measures import pareto_front
from lenrl.sweeps import ledger
from lenrl.sweeps.ledger import Trial
from lenrl.sweeps.plan import Plan
from lenrl.sweeps.winner import Winner, winner
from lenrl.training.run_info import task_of

NEAR = 0.01  # accuracies this close count as the best one's when the fewest tokens are looked for
WAITING = "waiting"


def front(trials: Sequence[Trial]) -> list[int]:
    """Finished trials that no other one beats in accuracy and tokens at once; fewest tokens first.

    >>> at = lambda n, a, t: Trial(n, (), "finished", "", a, t)
    >>> front([at(0, 0.8, 50), at(1, 0.9, 60), at(2, 0.8, 55), at(3, 0.9, 60)])
    [0, 1, 3]
    """
    known = {
        (t.tokens, t.trial): t.accuracy
        for t in trials
        if t.status == ledger.FINISHED and t.tokens is not None
    }
    best = pareto_front(list(known.values()), [tokens for tokens, _ in known])
    return [number for _, number in sorted(compress(known, best))]


def picks(trials: Sequence[Trial], found: Winner | None = None) -> dict[str, Trial]:
    """The trials that a user decides between: the most accurate trial, and the shortest that is nearly so.

    Where a winner is known, a trial of its setting, and one of the shortest setting that is not told apart from it.
    """
    by_number = {t.trial: t for t in trials}
    if found is not None:
        best, short = (
            max((by_number[n] for n in setting.trials), key=lambda t: (t.accuracy or 0.0, -(t.tokens or 0.0)))
            for setting in (found.best, found.shortest)
        )
        return {"best": best} | ({} if short is best else {"shortest of those": short})
    ends = [by_number[number] for number in front(trials)]
    if not ends:
        return {}
    best = ends[-1]  # of a front the longest is the most accurate
    short = next(t for t in ends if (t.accuracy or 0.0) >= (best.accuracy or 0.0) - NEAR)
    return {"most accurate": best} | ({} if short is best else {f"shortest within {NEAR:.0%}": short})


def conclude(plan: Plan, console: Console) -> list[Trial]:
    """Write `sweep.json` and `sweep.csv`, print table and picks; all trials, those included that still wait.

    Raises:
        BadInput: the folder is another sweep's.
    """
    plan.settle()
    known = ledger.read(plan.folder)
    trials = list(known.values())
    if plan.draws is None:
        trials = [
            known.get(n) or Trial(n, tuple(plan.overrides(n)), WAITING, ledger.run_name(n))
            for n in range(plan.count)
        ]
    best, found = front(trials), winner(plan.folder, trials)
    chosen = picks(trials, found)
    rows = [asdict(t) | {"front": t.trial in best} for t in trials]
    result = {
        "recipe": plan.first.recipe,
        "command": plan.command,
        "trials": rows,
        "front": best,
        "picks": {name: t.trial for name, t in chosen.items()},
        "winner": found and found.as_json(),
    }
    write_file(plan.folder / "sweep.json", json.dumps(result, indent=2, allow_nan=False) + "\n")
    write_file(plan.folder / "sweep.csv", _csv(plan, rows))
    console.print(_table(plan, trials, best))
    _advise(plan, trials, chosen, found, console)
    return trials


def _advise(
    plan: Plan, trials: Sequence[Trial], chosen: Mapping[str, Trial], found: Winner | None, console: Console
) -> None:
    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=True)

    if any(t.measured_on == "test" for t in trials):
        say(
            "Without an evaluation on development problems at the last step (task.dev, trainer.eval_steps), the "
            "figures are of the test problems: what is chosen by them looks better there than it is.",
            "yellow",
        )
    for trial in trials:
        if trial.status == ledger.CRASHED:
            say(f"Trial {trial.trial} crashed (exit code {trial.exit_code}): {log(plan, trial.trial)}", "red")
    if found is not None:
        for line in found.lines():
            say(line, "bold" if line.startswith("Best") else "")
    elif chosen:
        say(
            "Not compared problem by problem: there are no two settings that have answered the same ones.",
            "yellow",
        )
    for name, trial in chosen.items():
        say(f"{name[0].upper() + name[1:]} by hand: trial {trial.trial}\n  {plan.by_hand(trial)}")
    task = task_of(plan.first)
    if chosen and task.count("test") != 0:
        models = [str(plan.folder / t.run / "model") for t in chosen.values()]
        line = eval_command(models, plan.first, task, plan.folder / "picked")
        say(f"To measure {'it' if len(models) == 1 else 'them'} on the test problems:\n  {line}")
        say(f"To see all of them: lenrl compare {shlex.quote(str(plan.folder))}")
    left = [t for t in trials if not t.done]
    if left:
        say(f"{len(left)} of {len(trials)} trials are not done; the same command continues them.")
    say(f"Figures: {plan.folder / 'sweep.csv'}, sweep.json; runs beside them")


def log(plan: Plan, trial: int) -> str:
    """Path of a trial's own output."""
    return str(plan.folder / "logs" / f"{ledger.run_name(trial)}.log")


def _table(plan: Plan, trials: Sequence[Trial], best: Sequence[int]) -> Table:
    splits = " and ".join(sorted({t.measured_on for t in trials if t.measured_on}))
    title = f"{plan.first.recipe}: {splits} problems; * on the front" if splits else plan.first.recipe
    table = Table(title=title, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    short = [axis.key.rpartition(".")[2] for axis in plan.grid.axes]
    table.add_column("trial", justify="right", no_wrap=True)
    for axis, name in zip(plan.grid.axes, short, strict=True):
        table.add_column(axis.key if short.count(name) > 1 else name, justify="right", overflow="fold")
    for name in ("accuracy", "tokens", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("status", no_wrap=True)
    for t in trials:
        set_to = dict(line.split("=", 1) for line in t.overrides)
        table.add_row(
            str(t.trial),
            *(set_to.get(axis.key, "") for axis in plan.grid.axes),
            "" if t.accuracy is None else f"{t.accuracy:.1%}",
            "" if t.tokens is None else f"{t.tokens:.1f}",
            f"{t.seconds:.0f}" if t.seconds else "",
            "*" if t.trial in best else "",
            t.status + (f" ({t.reason.split(':')[0]})" if t.reason else ""),
            style="bold" if t.trial in best else "dim" if not t.done else "",
        )
    return table


def _csv(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> str:
    keys = [axis.key for axis in plan.grid.axes]
    fields = ("status", "accuracy", "tokens", "measured_on", "seconds", "front", "run", "exit_code", "reason")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["trial", *keys, *fields])
    for row in rows:
        set_to = dict(line.split("=", 1) for line in row["overrides"])
        writer.writerow([row["trial"], *(set_to.get(key) for key in keys), *(row[name] for name in fields)])
    return out.getvalue()
