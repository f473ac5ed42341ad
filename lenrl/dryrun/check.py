"""Checks of a recipe before a model loads: arithmetic, sizes, data, verifier, penalty."""

import time
from collections.abc import Sequence

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from lenrl.config import Recipe
from lenrl.dryrun import function_trial
from lenrl.dryrun import leverage as trial
from lenrl.dryrun import memory as sizes
from lenrl.dryrun.fast_paths import fast_paths
from lenrl.dryrun.objective_trial import try_objective
from lenrl.dryrun.refusals import refusals
from lenrl.measures.format import Figures
from lenrl.redact import visible
from lenrl.rollouts import Verdict
from lenrl.tasks import Problem, by_part
from lenrl.tasks.audit import Audit
from lenrl.terminal import Terminal
from lenrl.training.audited_data import audited, audited_others
from lenrl.training.prepare import CheckedRun, prepare
from lenrl.training.rendered import rendered
from lenrl.verify.claims import AnyVerifier, Claim
from lenrl.verify.settings import PluginSettings
from lenrl.verify.several import Verifiers

TIMED = 200  # gold answers that the timing takes ...
TRIED = 8  # ... with a verifier of a plug-in
SLOW_SHARE = 0.05  # failures of the verifier's limits among gold answers; above, they are reported


def check(recipe: Recipe) -> Figures:
    """Check a recipe and measure what needs no weights.

    Returns:
        `recipe` (resolved), `digest`, `run_dir`, `chosen` (settings for the model, and why), `batch`, `model`,
        `fast_paths` (yes or no, and why), `data` (a split: counts), `prompt` (rendered; `prompts_by_part`: of a mix),
        `evals`, `verifier`, `reward_functions` (where there are any: what they give gold answers), `penalty`,
        `objective` (its figures on a made-up micro-batch), `refusals` (why it can't be trained here), `warnings`; plain
        values, sizes in MiB, times in seconds, lengths in tokens.

    Raises:
        BadInput: the recipe or its data can't be trained.
    """
    checked_run = prepare(recipe)
    recipe = checked_run.recipe
    facts: Figures = {"recipe": recipe.resolved(), "digest": recipe.digest()}
    facts["run_dir"] = str(recipe.run_dir())
    warnings = list(checked_run.warnings)
    facts["chosen"] = {key: _chosen(facts["recipe"], key, why) for key, why in checked_run.reasons.items()}
    facts["batch"] = _batch(checked_run)
    model, info, longest = sizes.measure(checked_run, warnings)
    tokenizer = info.tokenizer if info else None
    facts["model"] = model
    paths = fast_paths(recipe, info.config if info else None)
    facts["fast_paths"] = {name: str(path) for name, path in paths.items()}
    context = None if longest is None else longest + checked_run.run_info.max_length
    with Verifiers() as verifiers:
        verifier = verifiers.of(checked_run.verifier)
        others = audited_others(checked_run, tokenizer, verifiers.of, context)
        facts["data"], train = _audit(checked_run, verifier, tokenizer, longest, warnings, others)
        samples = {part: _prompt(checked_run, some, tokenizer) for part, some in by_part(train).items()}
        facts["prompt"], *_ = samples.values()
        facts["prompts_by_part"] = {part: text for part, text in samples.items() if part and text}
        facts["evals"] = _others(checked_run, others, warnings)
        timed = {part: _time(verifier.part(part), some, warnings) for part, some in by_part(train).items()}
        facts["verifier"] = timed.get("", timed)
    if recipe.method.functions:
        facts["reward_functions"] = function_trial.tried(checked_run.recipe.method, checked_run.task, train)
    facts["penalty"], advantage, values = trial.penalty(checked_run, train, warnings)
    facts["objective"] = try_objective(recipe.method.objective, advantage, values)
    facts["refusals"] = refusals(checked_run)
    return {**facts, "warnings": list(dict.fromkeys(warnings))}


def show(facts: Figures, console: Console | None = None) -> None:
    """Print what `check` found."""
    console = console or Terminal()
    console.print(Text(yaml.safe_dump(facts["recipe"], sort_keys=False, allow_unicode=True)), soft_wrap=True)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    sections = (
        *("chosen", "batch", "model", "fast_paths", "data", "evals", "verifier"),
        *("reward_functions", "penalty", "objective"),
    )
    for section in (name for name in sections if facts.get(name)):
        table.add_row(Text(section.replace("_", " "), style="bold"))
        for key, value in facts[section].items():
            words = key if "." in key else key.replace("_", " ")  # an option can be copied as it stands
            table.add_row(Text(f"  {words}"), Text(_words(value)))
    console.print(table)
    prompts = facts["prompts_by_part"] or {"": facts["prompt"]}
    for part, prompt in prompts.items():
        if prompt is not None:
            of_part = f" of {part}" if part else ""
            console.print(Text(f"prompt{of_part}, as the model reads it", style="bold"))
            console.print(Text(visible(prompt)), soft_wrap=True)
    for warning in facts["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)
    for refusal in facts["refusals"]:
        console.print(Text(f"error: {refusal}", style="red"), soft_wrap=True)
    name = facts["recipe"]["recipe"]
    if facts["refusals"]:
        console.print(Text(f"{name} can't be trained here"))
    else:
        console.print(Text(f"{name} can be trained; its run goes to {facts['run_dir']}"))


def _chosen(plain: Figures, key: str, reason: str) -> str:
    section, name = key.split(".")
    return f"{_words(plain[section][name])}: {reason}"


def _batch(checked_run: CheckedRun) -> dict[str, int]:
    layout, run_info = checked_run.layout, checked_run.run_info
    steps = run_info.max_steps or 0
    rollouts = -(-steps // layout.updates_per_rollout)
    return {
        "processes": layout.processes,
        "prompts_per_rollout": layout.prompts_per_rollout,
        "completions_per_prompt": layout.num_generations,
        "completions_per_rollout": layout.rows_per_rollout,
        "optimizer_steps_per_rollout": layout.updates_per_rollout,
        "optimizer_steps": steps,
        "rollouts": rollouts,
        "tokens_per_rollout_at_most": layout.rows_per_rollout * run_info.max_length,
        "tokens_at_most": rollouts * layout.rows_per_rollout * run_info.max_length,
    }


def _audit(
    checked_run: CheckedRun,
    verifier: AnyVerifier,
    tokenizer: PreTrainedTokenizerBase | None,
    longest: int | None,
    warnings: list[str],
    others: Sequence[tuple[list[Problem], Audit]],
) -> tuple[dict[str, object], list[Problem]]:
    elsewhere = [problem for problems, _ in others for problem in problems]
    kept, audits, _ = audited(checked_run, tokenizer, verifier, longest, elsewhere=elsewhere)
    counts: dict[str, object] = {"task": checked_run.task.name}
    for audit in audits:
        counts[audit.split] = {
            **_counted(audit),
            **{f"of {part}": _counted(own) for part, own in audit.parts.items()},
        }
        warnings += audit.warnings
    return counts, kept["train"]


def _counted(audit: Audit) -> dict[str, int]:
    return {name: n for name, n in audit.counts().items() if n or name == "kept"}


def _prompt(
    checked_run: CheckedRun, train: Sequence[Problem], tokenizer: PreTrainedTokenizerBase | None
) -> str | None:
    """The first training prompt as the model reads it; None: its tokenizer is not here."""
    if tokenizer is None:
        return None
    recipe, task = checked_run.recipe, checked_run.task
    return rendered(recipe, task, train[:1], tokenizer, checked_run.run_info)[0]


def _others(
    checked_run: CheckedRun, others: Sequence[tuple[list[Problem], Audit]], warnings: list[str]
) -> dict[str, object]:
    """Problems and completions of each entry of `evals`."""
    facts: dict[str, object] = {}
    for other, (problems, audit) in zip(checked_run.others, others, strict=True):
        samples = other.settings.samples
        facts[other.entry.name] = {
            "problems": len(problems),
            "samples": samples,
            "tokens_at_most": len(problems) * samples * other.cap,
            "in_training": checked_run.evaluates,
        }
        warnings += audit.warnings
    return facts


def _time(verifier: AnyVerifier, train: Sequence[Problem], warnings: list[str]) -> dict[str, object]:
    settings = verifier.settings
    own = isinstance(settings, PluginSettings)  # it may ask a server
    some = [problem for problem in train if problem.answer][: TRIED if own else TIMED]
    golds = [problem.answer or "" for problem in some]
    if not golds or settings.kind == "gym":
        return {"kind": settings.kind, "timed": 0}
    boxed = settings.format == "boxed"
    forms = [f"\\boxed{{{g}}}" if boxed else f"<answer>{g}</answer>" for g in golds]
    claims = [Claim(form, g, columns=p.judged_by) for form, g, p in zip(forms, golds, some, strict=True)]
    # The same answers against the gold of others
    claims += [Claim(c.text, golds[i - 1], columns=some[i - 1].judged_by) for i, c in enumerate(claims)]
    first = verifier.verify(claims)  # starts the workers
    began = time.perf_counter()
    second = verifier.verify(claims)
    seconds = time.perf_counter() - began
    if [v.correct for v in first] != [v.correct for v in second]:
        warnings.append("the verifier gave two verdicts for one text: raise verifier.timeout_s")
    if own and not any(v.correct for v in first[: len(golds)]):
        warnings.append(
            "the verifier calls none of the gold answers right, each as the boxed answer of a completion"
        )
    limited = _share(first, ("timeout", "memory", "limit"))
    if limited > SLOW_SHARE:
        warnings.append(f"{limited:.0%} of the gold answers overrun its limits: raise verifier.timeout_s")
    return {
        "kind": settings.kind,
        "workers": settings.workers,
        "timed": len(claims),
        "verdicts_per_second": round(len(claims) / seconds) if seconds else None,
    }


def _share(verdicts: Sequence[Verdict], outcomes: Sequence[str]) -> float:
    return sum(v.outcome in outcomes for v in verdicts) / max(1, len(verdicts))


def _words(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_words(inner)}" for key, inner in value.items())
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
