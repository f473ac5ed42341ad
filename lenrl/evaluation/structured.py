"""Structure of the completions' thinking: who reads it, and the figures of a model that follow."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lenrl import measures
from lenrl.errors import BadInput
from lenrl.evaluation import thinking_judge
from lenrl.evaluation.results import ModelResults
from lenrl.evaluation.settings import EvalSettings
from lenrl.measures.format import Figures, named
from lenrl.tasks import Task

MEANS = {
    "think_chars": "think_chars",
    "steps_mean": "steps",
    "failed_share": "failed",
    "review_share": "review",
}


def check_structure(settings: EvalSettings, task: Task) -> None:
    """Refuse thinking that can't be read, before anything is sampled."""
    if settings.structure == "exact" and any(type(s).attempts is Task.attempts for s in task.sources):
        raise BadInput(
            f"structure=exact reads thinking of one known form, and task {task.name!r} has none: take task=chain or "
            "task=algorithms, structure=cues or structure=judge"
        )
    if settings.structure == "judge":
        thinking_judge.client(settings).close()


def thinking_of(text: str) -> str:
    """The thinking of a completion: up to the last `</think>`, all of it where there is none."""
    head, closed, rest = text.rpartition("</think>")
    return (head if closed else rest).strip().removeprefix("<think>").strip()


def with_structure(
    results: ModelResults, task: Task, settings: EvalSettings, tokenizer: Any, folder: Path | None
) -> tuple[ModelResults, Figures]:
    """The results with what was read of each thinking, and the figures.

    Raises:
        BadInput: a judge would cost more than `judge_tokens`.
        RunFailed: it does not answer.
    """
    S = results.decoding.samples
    problems = [problem for problem in results.problems for _ in range(S)]
    thinking = [thinking_of(results.prefill + text) for text in results.texts]
    more: Figures = {}
    if settings.structure == "cues":
        found = [measures.by_cues(text) for text in thinking]
        more = {
            "switches_per_1000": 1000 * sum(s.switches or 0 for s in found) / results.answers.tokens_PS.sum()
        }
    elif settings.structure == "exact":
        found = [
            measures.by_attempts(text, task.part_of(problem).attempts(problem, text, verdict.answer))
            for problem, text, verdict in zip(problems, thinking, results.verdicts, strict=True)
        ]
        tokens = [len(tokenizer.encode(text, add_special_tokens=False)) for text in thinking]
        more = {"tokens_by": _tokens_by(found, tokens, float(results.answers.tokens_PS.mean()))}
    else:
        first = range(min(settings.judge_prompts, len(results.problems)))
        rows = [p * S + s for p in first for s in range(min(settings.judge_samples, S))]
        asked = {row: (problems[row].prompt, thinking[row]) for row in rows}
        cost = {row: results.prompt_tokens[row // S] + len(results.completions[row].ids) for row in rows}
        read = thinking_judge.structures(settings, asked, cost, folder)
        found = [read.get(row) for row in range(len(problems))]
        unknown = sum(structure is None for structure in read.values())
        more = {"judge": thinking_judge.identity(settings), "judged": len(rows), "unknown": unknown}
    results = replace(results, structure=found)
    return results, {"by": settings.structure, **_figures(results), **more}


def _figures(results: ModelResults) -> Figures:
    def table(name: str) -> np.ndarray:
        values = [getattr(structure, name, None) for structure in results.structure]
        return np.array([np.nan if v is None else v for v in values], dtype=float).reshape(shape)

    shape = results.answers.tokens_PS.shape
    figures: Figures = {
        name: None if np.isnan(x := table(n)).all() else float(np.nanmean(x)) for name, n in MEANS.items()
    }
    read_PS = table("think_chars") >= 0
    correct_PS = np.where(read_PS, results.answers.correct_PS, np.nan)
    ways = {
        "shortest": results.answers.tokens_PS,
        "least_review": table("review"),
        "least_failed": table("failed"),
    }
    ways = {name: values for name, values in ways.items() if not np.isnan(values + correct_PS).all()}
    picked = {"random": 0 * results.answers.tokens_PS, **ways}
    accuracies = {name: measures.accuracy(measures.chosen_by(correct_PS, v)) for name, v in picked.items()}
    within = {
        name: measures.at_fixed_problem(correct_PS, values)["r_length"] for name, values in ways.items()
    }
    figures["selection"] = {k: v for name, a in accuracies.items() for k, v in named(name, a).items()}
    names = {"shortest": "length", "least_review": "review", "least_failed": "failed"}
    figures["correlation"] = {k: v for name, r in within.items() for k, v in named(names[name], r).items()}
    return figures


def _tokens_by(found: Sequence[measures.Structure], thinking: Sequence[int], mean: float) -> dict[str, float]:
    """Mean tokens of each kind of step, a thinking's tokens shared out by their characters; `answer`: the rest."""
    shares = [
        n * np.array(s.chars_by) / sum(s.chars_by) for s, n in zip(found, thinking, strict=True) if s.chars_by
    ]
    first_pass, recheck, failed = (sum(shares, np.zeros(3)) / len(found)).tolist()
    answer = mean - first_pass - recheck - failed
    return {"first_pass": first_pass, "recheck": recheck, "failed": failed, "answer": answer}
