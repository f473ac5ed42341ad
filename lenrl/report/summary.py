"""The end of a training run: the model before and after, on test problems, as files and on the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lenrl.errors import BadInput, PluginFailed, validated
from lenrl.evaluation import by_hand, other_data
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.settings import EvalSettings
from lenrl.files import read_json, write_json
from lenrl.measures.format import Evaluation, Figures
from lenrl.report import cascades, page, tables
from lenrl.report.tables import before_after, before_after_table
from lenrl.tasks import Task
from lenrl.terminal import Terminal
from lenrl.training.run_info import task_of

if TYPE_CHECKING:
    from lenrl.config import OtherData, Recipe

HEADLINE = ("accuracy", "accuracy_ci95", "tokens_mean", "tokens_mean_ci95", "truncated_share")
PATHS = ("model", "metrics.jsonl", "completions", "eval.json", "evals", "report.html", "recipe.yaml")


def finish(run_dir: Path, recipe: Recipe, console: Console | None = None) -> dict[str, object]:
    """Evaluate base and trained model on the test problems; write `eval.json`, `summary.json`, `report.html`.

    Both are decoded as in training (temperature, top_p, top_k, cap), sampled and greedy; on other data (`evals`) as
    its entry says, into `evals/NAME/`. A task without test problems, or with bad ones, is not evaluated: the
    training has succeeded, and the summary says why.

    Args:
        run_dir: a finished run's folder, with `model/`.
        console: where the summary is printed; None: standard output.
    """
    from lenrl.monitors import artifacts as tracked  # transformers' trainer comes with it

    console = console or Terminal()
    began = time.perf_counter()
    task = task_of(recipe)
    result, skipped = _evaluate(run_dir, recipe, task, console)
    others = {entry.name: _evaluate_other(run_dir, recipe, entry, console) for entry in recipe.evals}
    trained = read_json(run_dir / "training.json", {})  # a run of an older version has none
    summary: dict[str, object] = {
        "status": "finished",
        "recipe": recipe.recipe,
        "task": recipe.task.get("name"),
        "base": recipe.model.path,
        "steps": trained.get("steps"),
        "seconds": trained.get("seconds"),
        "seconds_evaluation": round(time.perf_counter() - began, 3),
        "before": None,
        "after": None,
        "pairs": [],
        "evaluation_skipped": skipped,
        "evals": {
            name: {"skipped": found} if isinstance(found, str) else _before_after(found)
            for name, found in others.items()
        },
    }
    if result is not None:
        summary |= _before_after(result)
    try:
        page.write_run(run_dir, recipe.recipe, skipped)
    except BadInput as error:
        console.print(Text(f"No report: {error}", style="yellow"), soft_wrap=True)
    summary["paths"] = {name: str(run_dir / name) for name in PATHS if (run_dir / name).exists()}
    write_json(run_dir / "summary.json", summary)
    tracked.hand_over(run_dir, recipe)
    _print(summary, result, run_dir, console)
    for name, found in others.items():
        if isinstance(found, str):
            console.print(Text(f"Not evaluated on {name}: {found}"), soft_wrap=True)
        else:
            console.print(before_after_table(found))
            _print_warnings(found, console)
    console.print(Text(f"Next:    {eval_command(run_dir, recipe, task)}"), soft_wrap=True)
    return summary


def show(result: Evaluation, console: Console, out_dir: Path | None = None) -> None:
    """Print an evaluation: models, pairs, warnings, the files' folder."""
    console.print(tables.models_table(result["models"]))
    console.print(tables.more_table(result["models"]))
    if "reach" in result["models"][0]:
        console.print(tables.reach_table(result["models"]))
    if structured := [entry for entry in result["models"] if "structure" in entry]:
        console.print(tables.structure_table(structured))
    if result["pairs"]:
        console.print(tables.pairs_table(result["pairs"]))
    if asked := cascades.rows(cascades.of_pairs(result["pairs"]), few=True):
        console.print(tables.cascades_table(asked, cascades.HEADER, cascades.CAPTION))
    _print_warnings(result, console)
    if out_dir is not None:
        console.print(Text(f"Figures: {out_dir / 'eval.json'}; completions beside it"))


def _evaluate(
    run_dir: Path, recipe: Recipe, task: Task, console: Console
) -> tuple[Evaluation | None, str | None]:
    if task.count("test") == 0:
        return None, "task.test is 0: there are no test problems"
    try:
        settings = validated(
            EvalSettings,
            {
                **other_data.as_trained(recipe),
                "decodings": ("sampled", "greedy"),
                "controls": recipe.eval.controls,
                "control": recipe.eval.control,
                "hints": recipe.eval.hints,
            },
        )
        models = [recipe.model.path, str(run_dir / "model")]
        # The run may have been trained further: what was sampled before is replaced.
        judge = recipe.method.judge
        result = evaluate(
            models, task, settings, out_dir=run_dir, replace_other=True, judge=judge, console=console
        )
    except (BadInput, PluginFailed) as error:
        return None, str(error)
    return result, None


def _evaluate_other(run_dir: Path, recipe: Recipe, entry: OtherData, console: Console) -> Evaluation | str:
    """The evaluation on other data, or the reason why there is none."""
    try:
        settings = other_data.settings_of(entry, recipe)
        models = [recipe.model.path, str(run_dir / "model")]
        folder = run_dir / other_data.FOLDER / entry.name
        task = other_data.task_of(entry)
        return evaluate(models, task, settings, out_dir=folder, replace_other=True, console=console)
    except (BadInput, PluginFailed) as error:
        return str(error)


def _before_after(result: Evaluation) -> Figures:
    """`before` and `after`: the sampled figures at the top, and those of each decoding below its name."""
    headline: Figures = {"before": {}, "after": {}, "pairs": result["pairs"]}
    for before, after in before_after(result["models"]):
        for side, entry in (("before", before), ("after", after)):
            figures = {key: entry[key] for key in HEADLINE} | {"tokens": entry["tokens_mean"]}
            headline[side][entry["decoding"]] = figures
            headline[side].setdefault("accuracy", figures["accuracy"])
            headline[side].setdefault("tokens", figures["tokens"])
    return headline


def _print(summary: Mapping[str, object], result: Evaluation | None, run_dir: Path, console: Console) -> None:
    console.print()
    steps, seconds = summary["steps"], summary["seconds"]
    took = f", {steps} steps" if steps is not None else ""
    took += f" in {seconds:.0f} s" if seconds is not None else ""
    console.print(Text(f"Finished {summary['recipe']}{took}", style="bold"))
    if result is not None:
        console.print(before_after_table(result))
        _print_warnings(result, console)
    else:
        console.print(Text(f"Not evaluated: {summary['evaluation_skipped']}"))
    for what, name in (("Report", "report.html"), ("Figures", "eval.json"), ("Model", "model")):
        if (run_dir / name).exists():
            console.print(Text(f"{what + ':':9}{run_dir / name}"), soft_wrap=True)


def _print_warnings(result: Evaluation, console: Console) -> None:
    warnings = [text for entry in result["models"] for text in entry["warnings"]]
    warnings += [
        f"{pair['base']} and {pair['model']} were not measured alike: {'; '.join(pair['differs'])}"
        for pair in result["pairs"]
        if pair["differs"]
    ]
    for warning in dict.fromkeys(warnings):
        console.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)


def eval_command(run_dir: Path, recipe: Recipe, task: Task) -> str:
    """`lenrl eval BASE MODEL task=...`: the run's test problems, decoding, verifier and model options."""
    return by_hand.eval_command([str(run_dir / "model")], recipe, task, run_dir / f"eval{by_hand.SAMPLES}")
