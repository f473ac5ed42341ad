"""Reward hacks against a recipe before training, without a model: their rewards and advantages."""

from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lenrl.config import Recipe
from lenrl.dryrun.attack import findings
from lenrl.dryrun.attack.advice import advise
from lenrl.dryrun.attack.batch import AttackBatch, AttackGroups
from lenrl.dryrun.attack.hacks import HACKS, Hack
from lenrl.dryrun.attack.writer import CHARS_A_TOKEN
from lenrl.errors import BadInput
from lenrl.measures.format import Figures
from lenrl.terminal import Terminal
from lenrl.training.run_info import task_of
from lenrl.verify.several import verifier_of

__all__ = ["attack", "show"]

STYLE = {"pays": "bold red", "leaks": "yellow", "no": "green"}
HONEST = Hack("honest", "wrong, as honest ones are", lambda w, ask: [(w.solve(w.wrong, ask.wrong),)])


def attack(recipe: Recipe, step: int = 0) -> Figures:
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
        BadInput: a method that cannot work in such a run, or data without a problem that can be used.
    """
    if step < 0:
        raise BadInput(f"--step {step}: completed optimizer steps must be at least 0")
    with verifier_of(task_of(recipe).verifier_settings(recipe.verifier)) as verifier:
        groups = AttackGroups(recipe, verifier, step)
        honest = groups.batches(HONEST.variants)[0]
        scale, blind = findings.gap(groups, honest), groups.blind(honest)
        tried = ((hack, _try(groups, hack, honest, scale)) for hack in HACKS)
        entries = [(hack, entry) for hack, entry in tried if entry is not None]
    named = {
        grade: [entry["name"] for _, entry in entries if entry["finding"] == grade]
        for grade in ("pays", "leaks")
    }
    return {
        "recipe": recipe.recipe,
        "step": step,
        "num_generations": groups.run_info.num_generations,
        "max_completion_length": groups.run_info.max_length,
        "problems": [problem.id for problem in groups.problems],
        "gap": scale,
        "hacks": [entry for _, entry in entries],
        **named,
        "advice": advise(recipe.method, entries, blind),
        "notes": _notes(recipe),
    }


def show(result: Figures, console: Console | None = None) -> None:
    """Print the result of `attack`, the hacks that pay first."""
    console = console or Terminal()
    title = (
        f"{result['recipe']}: hacks among {result['num_generations']} completions of at most "
        f"{result['max_completion_length']} tokens; each in the group where it did best"
    )
    table = Table(
        title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("")
    table.add_column("hack", min_width=20)
    table.add_column("group\nverdict", min_width=12)
    for name in ("tokens", "reward\nright, wrong", "advantage\nright, wrong"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in sorted(result["hacks"], key=lambda entry: -findings.RANK[entry["finding"]]):
        table.add_row(
            Text(entry["finding"], style=STYLE[entry["finding"]]),
            _two(entry["name"], entry["what"]),
            _two(entry["mix"], entry["verdict"]),
            f"{entry['tokens']:,.0f}",
            _cell(entry, "reward"),
            _cell(entry, "advantage"),
        )
    console.print(table)
    for line in result["advice"]:
        console.print(Text(f"- {line}"), soft_wrap=True)
    for line in result["notes"]:
        console.print(Text(line, style="dim"), soft_wrap=True)
    console.print(Text(_summary(result)))


def _try(groups: AttackGroups, hack: Hack, honest: AttackBatch, scale: float) -> Figures | None:
    """A hack's entry; None where it does not apply."""
    batches = groups.batches(hack.variants)
    judged = findings.judge(groups, hack, batches, honest, scale)
    if not judged:
        return None
    verdicts = findings.verdicts(groups, hack, batches)
    return {
        "name": hack.name,
        "what": hack.what,
        "verdict": _verdict(verdicts),
        "fooled": not (hack.right or hack.shares)
        and True in verdicts,  # an answer that is none is called right
        "finding": judged[0].grade,
        **{name: value for name, value in asdict(judged[0]).items() if name != "grade"},
        "mixes": {finding.mix: asdict(finding) for finding in judged},
    }


def _verdict(verdicts: list[bool | None]) -> str:
    if all(verdict is None for verdict in verdicts):
        return "unknown"
    right = sum(verdict is True for verdict in verdicts) / len(verdicts)
    return "wrong" if right == 0 else "right" if right == 1 else f"{right:.0%} right"


def _notes(recipe: Recipe) -> list[str]:
    notes = [f"No tokenizer is loaded: a token is taken as {CHARS_A_TOKEN} characters."]
    if recipe.model.think_prefilled is None:
        notes.append(
            "No chat template is read: completions open <think> themselves; where the template does, set "
            "model.think_prefilled=true."
        )
    return notes


def _cell(entry: Figures, name: str) -> Text:
    honest = f"{_number(entry[f'{name}_right'])}, {_number(entry[f'{name}_wrong'])}"
    return _two(_number(entry[name]), honest)


def _two(first: str, second: str) -> Text:
    return Text(first, style="bold").append(f"\n{second}", style="not bold dim")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _summary(result: Figures) -> str:
    pays, leaks, tried = result["pays"], result["leaks"], len(result["hacks"])
    if not pays and not leaks:
        return f"None of {tried} hacks pays."
    some = f"{len(pays)} of {tried} hacks pay{'s' if len(pays) == 1 else ''}"
    more = f", {len(leaks)} more leak{'s' if len(leaks) == 1 else ''}" if leaks else ""
    return f"{some}{more}{': ' if pays else ''}{', '.join(pays)}."
