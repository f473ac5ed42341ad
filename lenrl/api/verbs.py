"""The command line's verbs as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenrl.api import methods
from lenrl.errors import validated

if TYPE_CHECKING:
    from lenrl.measures.format import Evaluation
    from lenrl.report.compare import Compared


def score(
    method: methods.Given,
    rows: Sequence[Mapping[str, Any]],
    *,
    step: int = 0,
    max_length: int | None = None,
    plugins: Sequence[Path | str] = (),
    **options: Any,
) -> list[dict[str, object]]:
    """Rewards and advantages of one generation batch, by the pipeline that training uses; no model, no trainer.

    >>> rows = [{"prompt": "q", "length": n, "correct": True} for n in (100, 300)]
    >>> [row["advantage"] > 0 for row in score("kimi", rows)]
    [True, False]

    Args:
        method: a recipe's name, slots, or a `Method`, the fastest where it is called again and again
            (`compose(...).method`); its state begins anew at each call.
        rows: as `lenrl score` reads them: `prompt` (the group's id), `length` in tokens, `correct`, ...
        step: completed optimizer steps.
        max_length: L_max, tokens; None: 4096.
        plugins: files with strategies of the caller's own.
        **options: of its strategies, `alpha=0.3`.

    Returns:
        For each row, in order: prompt, length (kept), correct, budget, reward, advantage.

    Raises:
        BadInput: a bad row, a group of one, or a method that cannot work on groups of these sizes.
    """
    from lenrl.config import compose
    from lenrl.dryrun.score import score as scored

    chosen = methods.read(method, plugins, **options).method
    recipe = compose(method) if isinstance(method, str) else methods.plain()
    return scored(recipe, rows, method=chosen, step=step, max_length=max_length)


def evaluate(
    models: str | Sequence[str],
    task: str | Mapping[str, Any] = "chain",
    *,
    out: Path | str | None = None,
    **settings: Any,
) -> Evaluation:
    """Accuracy and tokens of models on the same problems, as `lenrl eval` measures them; what `eval.json` holds.

    Args:
        models: names, folders, runs' folders or hub ids; the first is the base of the pairs.
        task: a task's name, a data file, or a task's options.
        out: folder for eval.json and the completions; None: nowhere.
        **settings: `samples=8`, `max_new_tokens=4096`, `verifier={"kind": "exact"}`, ...

    Raises:
        BadInput: a model, the task or a setting cannot be used.
    """
    from lenrl.config import group, group_choices
    from lenrl.evaluation.evaluate import evaluate as measured
    from lenrl.evaluation.settings import EvalSettings

    if isinstance(task, str) and task in group_choices("task"):
        task = group("task", task)
    names = [models] if isinstance(models, str) else list(models)
    return measured(names, task, validated(EvalSettings, settings), out_dir=out)


def compare(runs: Sequence[Path | str], out: Path | str = "report.html") -> Compared:
    """Runs, sweeps and evaluations side by side: the page `out` is written, and what stands on it given.

    Raises:
        BadInput: a folder holds nothing that was measured.
    """
    from lenrl.report import page, sources
    from lenrl.report.compare import Compared

    compared = Compared(sources.read([Path(run) for run in runs]))
    page.write(compared, Path(out))
    return compared
