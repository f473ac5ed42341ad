"""Reward hacks against a recipe before training: no model, and what each of them would be paid and pushed."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lenrl.config import Recipe
from lenrl.dryrun.attack import findings
from lenrl.dryrun.attack.advice import advise
from lenrl.dryrun.attack.batch import Arena, Bout
from lenrl.dryrun.attack.hacks import HACKS, Hack
from lenrl.dryrun.attack.writer import CHARS_A_TOKEN
from lenrl.errors import BadInput
from lenrl.training.run_info import task_of
from lenrl.verify.pool import Verifier
from lenrl.verify.settings import VerifierSettings

__all__ = ["attack", "show"]

STYLE = {"pays": "bold red", "leaks": "yellow", "no": "green"}
HONEST = Hack("honest", "wrong, as honest ones are", lambda w, ask: [(w.solve(w.wrong, ask.wrong),)])


def attack(recipe: Recipe, step: int = 0) -> dict[str, Any]:
    """Try every hack that applies to the recipe's method, verifier and task.

    Args:
        recipe: its slots, verifier, task and `trainer`'s group size, cap and steps are used. Sampling is not
            applied, and the strategies have no state, as at the start of a run.
        step: completed optimizer steps, for budgets that tighten.

    Returns:
        `recipe, step, num_generations, max_completion_length, problems, gap`; `hacks`: for each its `name,
        what, verdict, fooled, finding` (pays, leaks, no), the numbers of the group where it did best, and
        `mixes` with those of the others; `pays`, `leaks` (names), `advice`, `notes`. Lengths are tokens.

    Raises:
        BadInput: a method that cannot work in its setting, or data without a problem that can be used.
    """
    if step < 0:
        raise BadInput(f"--step {step}: completed optimizer steps must be at least 0")
    with Verifier(VerifierSettings.read(recipe.verifier, task_of(recipe).VERIFIER)) as verifier:
        arena = Arena(recipe, verifier, step)
        honest = arena.bouts(HONEST.variants)[0]
        scale, blind = findings.gap(arena, honest), arena.blind(honest)
        entries = [(hack, entry) for hack in HACKS if (entry := _try(arena, hack, honest, scale)) is not None]
    named = {
        grade: [entry["name"] for _, entry in entries if entry["finding"] == grade]
        for grade in ("pays", "leaks")
    }
    return {
        "recipe": recipe.recipe,
        "step": step,
        "num_generations": arena.run_info.num_generations,
        "max_completion_length": arena.run_info.max_length,
        "problems": [problem.id for problem in arena.problems],
        "gap": scale,
        "hacks": [entry for _, entry in entries],
        **named,
        "advice": advise(recipe.method, entries, blind),
        "notes": _notes(recipe),
    }


def show(found: dict[str, Any], console: Console | None = None) -> None:
    """Print what `attack` found, the hacks that pay first."""
    console = console or Console()
    title = (
        f"{found['recipe']}: hacks among {found['num_generations']} completions of at most "
        f"{found['max_completion_length']} tokens; each in the group where it did best"
    )
    table = Table(
        title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("")
    table.add_column("hack", min_width=20)
    table.add_column("group\nverdict", min_width=12)
    for name in ("tokens", "reward\nright, wrong", "advantage\nright, wrong"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in sorted(found["hacks"], key=lambda entry: -findings.RANK[entry["finding"]]):
        table.add_row(
            Text(entry["finding"], style=STYLE[entry["finding"]]),
            _two(entry["name"], entry["what"]),
            _two(entry["mix"], entry["verdict"]),
            f"{entry['tokens']:,.0f}",
            _cell(entry, "reward"),
            _cell(entry, "advantage"),
        )
    console.print(table)
    for line in found["advice"]:
        console.print(Text(f"- {line}"), soft_wrap=True)
    for line in found["notes"]:
        console.print(Text(line, style="dim"), soft_wrap=True)
    console.print(Text(_summary(found)))


def _try(arena: Arena, hack: Hack, honest: Bout, scale: float) -> dict[str, Any] | None:
    """A hack's entry; None where it does not apply."""
    bouts = arena.bouts(hack.variants)
    judged = findings.judge(arena, hack, bouts, honest, scale)
    if not judged:
        return None
    return {
        "name": hack.name,
        "what": hack.what,
        "verdict": _verdict(findings.said(arena, hack, bouts)),
        "fooled": findings.fooled(arena, hack, bouts),
        "finding": judged[0].grade,
        **{name: value for name, value in judged[0].plain().items() if name != "grade"},
        "mixes": {one.mix: one.plain() for one in judged},
    }


def _verdict(said: list[bool | None]) -> str:
    if all(word is None for word in said):
        return "unknown"
    right = sum(word is True for word in said)
    return "wrong" if right == 0 else "right" if right == len(said) else f"{right / len(said):.0%} right"


def _notes(recipe: Recipe) -> list[str]:
    notes = [f"No tokenizer is loaded: a token is taken as {CHARS_A_TOKEN} characters."]
    if recipe.model.think_prefilled is None:
        notes.append(
            "No chat template is read: completions open <think> themselves; where the template does, set "
            "model.think_prefilled=true."
        )
    return notes


def _cell(entry: dict[str, Any], name: str) -> Text:
    honest = f"{_number(entry[f'{name}_right'])}, {_number(entry[f'{name}_wrong'])}"
    return _two(_number(entry[name]), honest)


def _two(first: str, second: str) -> Text:
    return Text(first, style="bold").append(f"\n{second}", style="not bold dim")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _summary(found: dict[str, Any]) -> str:
    pays, leaks, tried = found["pays"], found["leaks"], len(found["hacks"])
    if not pays and not leaks:
        return f"None of {tried} hacks pays."
    some = f"{len(pays)} of {tried} hacks pay{'s' if len(pays) == 1 else ''}"
    more = f", {len(leaks)} more leak{'s' if len(leaks) == 1 else ''}" if leaks else ""
    return f"{some}{more}{': ' if pays else ''}{', '.join(pays)}."
