"""The end of a training run: the model before and after, on test problems, as files and on the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from lenrl.errors import BadInput
from lenrl.evaluation.evaluate import evaluate
from lenrl.evaluation.settings import EvalSettings
from lenrl.monitors import artifacts as tracked
from lenrl.report import run_page as report
from lenrl.report.measure_again import eval_command
from lenrl.report.tables import before_after, before_after_table, models_table, more_table, pairs_table
from lenrl.tasks import Task
from lenrl.training.run_info import task_of

if TYPE_CHECKING:
    from lenrl.config import Recipe

HEADLINE = ("accuracy", "accuracy_ci95", "tokens_mean", "tokens_mean_ci95", "truncated_share")
PATHS = ("model", "metrics.jsonl", "completions", "eval.json", "report.html", "recipe.yaml")
MODEL_OPTIONS = ("dtype", "revision", "tokenizer", "think_prefilled", "trust_remote_code")
SAMPLED_OPTIONS = ("temperature", "top_p", "top_k")


def finish(run_dir: Path, recipe: Recipe, console: Console | None = None) -> dict[str, Any]:
    """Evaluate base and trained model on the test problems; write `eval.json`, `summary.json`, `report.html`.

    Both are decoded as in training (temperature, top_p, top_k, cap), sampled and greedy. A task without test
    problems, or with bad ones, is not evaluated: the training has succeeded, and the summary says why.

    Args:
        run_dir: a finished run's folder, with `model/`.
        recipe: what was trained.
        console: where the summary is printed; None: standard output.
    """
    console = console or Console()
    began = time.perf_counter()
    task = task_of(recipe)
    result, skipped = _evaluate(run_dir, recipe, task, console)
    trained = _read(run_dir / "training.json")
    summary: dict[str, Any] = {
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
    }
    if result is not None:
        summary |= _before_after(result)
    summary["paths"] = {name: str(run_dir / name) for name in PATHS if (run_dir / name).exists()}
    summary["paths"]["report.html"] = str(run_dir / "report.html")
    _write(run_dir / "summary.json", summary)
    report.write(run_dir)
    tracked.hand_over(run_dir, recipe)
    _print(summary, result, run_dir, console)
    console.print(Text(f"Next:    {eval_command(run_dir, recipe, task)}"), soft_wrap=True)
    return summary


def show(result: Mapping[str, Any], console: Console, out_dir: Path | None = None) -> None:
    """Print what `evaluate` gave: models, pairs, warnings, where the files are."""
    console.print(models_table(result["models"]))
    console.print(more_table(result["models"]))
    if result["pairs"]:
        console.print(pairs_table(result["pairs"]))
    _print_warnings(result, console)
    if out_dir is not None:
        console.print(Text(f"Figures: {out_dir / 'eval.json'}; completions beside it"))


def _evaluate(
    run_dir: Path, recipe: Recipe, task: Task, console: Console
) -> tuple[dict[str, Any] | None, str | None]:
    if task.count("test") == 0:
        return None, "task.test is 0: there are no test problems"
    try:
        settings = EvalSettings.read(
            {
                **{name: getattr(recipe.model, name) for name in MODEL_OPTIONS},
                **{name: recipe.trainer[name] for name in SAMPLED_OPTIONS if name in recipe.trainer},
                "decodings": ("sampled", "greedy"),
                "max_new_tokens": recipe.trainer["max_completion_length"],
                "seed": recipe.seed,
                "verifier": recipe.verifier,
            }
        )
        models = [recipe.model.path, str(run_dir / "model")]
        # The run may have been trained further: what was sampled before is replaced.
        result = evaluate(models, task, settings, out_dir=run_dir, replace_other=True, console=console)
    except BadInput as error:
        return None, str(error)
    return result, None


def _before_after(result: Mapping[str, Any]) -> dict[str, Any]:
    """`before` and `after`: the sampled figures at the top, and those of each decoding below its name."""
    found: dict[str, Any] = {"before": {}, "after": {}, "pairs": result["pairs"]}
    for before, after in before_after(result["models"]):
        for side, entry in (("before", before), ("after", after)):
            figures = {key: entry[key] for key in HEADLINE} | {"tokens": entry["tokens_mean"]}
            found[side][entry["decoding"]] = figures
            found[side].setdefault("accuracy", figures["accuracy"])
            found[side].setdefault("tokens", figures["tokens"])
    return found


def _print(
    summary: Mapping[str, Any], result: Mapping[str, Any] | None, run_dir: Path, console: Console
) -> None:
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


def _print_warnings(result: Mapping[str, Any], console: Console) -> None:
    said = [text for entry in result["models"] for text in entry["warnings"]]
    said += [
        f"{pair['base']} and {pair['model']} were not measured alike: {'; '.join(pair['differs'])}"
        for pair in result["pairs"]
        if pair["differs"]
    ]
    for warning in dict.fromkeys(said):
        console.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # a run of an older version has none
        return {}


def _write(path: Path, summary: Mapping[str, Any]) -> None:
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    draft.replace(path)
