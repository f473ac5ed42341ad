"""Completions of one model on a set of problems, and the figures that follow from them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lenrl import measures
from lenrl.evaluation import tellings
from lenrl.generation.base import Completion, Decoding
from lenrl.measures.format import Figures, named
from lenrl.rollouts import Verdict
from lenrl.tasks import Problem, Task
from lenrl.verify.math.normalize import key

MAX_GRADES = 20  # different difficulties; more are no breakdown
PASS_AT = (1, 2, 4, 8, 16, 32, 64)
NONE = "none"  # the control that is none
HINT = "hint@"  # begins the words of a budget that a model was trained with


@dataclass(frozen=True)
class ModelResults:
    """Completions and verdicts of one model under one decoding: P prompts, S samples; lists run prompt by prompt."""

    model: str
    decoding: Decoding
    problems: Sequence[Problem]
    completions: list[Completion]
    texts: list[str]
    verdicts: list[Verdict]
    seconds: dict[str, float]
    rendered: Sequence[str]  # the P prompts as the model read them, special tokens included
    prompt_tokens: Sequence[int]  # of each of the P
    prefill: str = ""  # text at the prompts' end that is the completion's for whoever judges it
    control: str = NONE  # at decoding
    # Of each thinking; None: unknown; empty: not asked for
    structure: Sequence[measures.Structure | None] = ()

    @cached_property
    def answers(self) -> measures.Answers:
        """Verdicts, tokens that were paid, answers and confidences, as measures read them."""
        samples, bases = range(self.decoding.samples), tellings.bases_of(self.problems)
        made = measures.Answers.of_rows(
            [number for number in range(len(self.problems)) for _ in samples],
            [v.correct for v in self.verdicts],
            [c.paid for c in self.completions],
            [c.truncated for c in self.completions],
            self.confidences,
            [None if v.answer is None else key(v.answer) for v in self.verdicts],
            bases and [base for base in bases for _ in samples],
        )
        assert made is not None  # as many rows of each problem
        return made

    @property
    def confidences(self) -> list[tuple[float, ...]] | None:
        """Summaries of the completions' log-probs; None: there are none, or not of all."""
        known = [c.confidence for c in self.completions if c.confidence is not None]
        return known if len(known) == len(self.completions) else None

    @property
    def length_P(self) -> list[int]:
        """Lengths of the problems' inputs, of a task whose difficulty they are."""
        return [int(problem.difficulty or 0) for problem in self.problems]

    @cached_property
    def lengths(self) -> dict[str, np.ndarray]:
        """Spread of each prompt's lengths, see `lenrl.measures.prompt_lengths`."""
        looping = [c.truncated and measures.loops(c.ids) for c in self.completions]
        return measures.prompt_lengths(self.answers.tokens_PS, np.reshape(looping, (len(self.problems), -1)))


def describe(results: ModelResults, budget: int, vote_width: int = measures.VOTE_WIDTH) -> Figures:
    """The figures of one model under one decoding, plain values.

    Args:
        budget: tokens up to which accuracies within a budget, and the area below them, are given.
        vote_width: steps of a bucket in the length-filtered vote.
    """
    correct, tokens = results.answers.correct_PS, results.answers.tokens_PS
    P, S = tokens.shape
    bases = results.answers.by_base
    grades = _rows_by([problem.difficulty for problem in results.problems])
    grades = dict(sorted(grades.items(), key=lambda item: (isinstance(item[0], str), item[0])))
    grades = grades if len(grades) <= MAX_GRADES else {}
    return {
        "model": results.model,
        "decoding": results.decoding.name,
        "control": results.control,
        **_headline(bases.correct_PS, bases.tokens_PS),
        "tokens_kept_mean": sum(len(c.ids) for c in results.completions) / (P * S),
        "prompt_tokens_mean": sum(results.prompt_tokens) / P,
        "tokens_p50": measures.percentile(tokens, 50),
        "tokens_p95": measures.percentile(tokens, 95),
        "tokens_p99": measures.percentile(tokens, 99),
        "truncated_share": sum(c.truncated for c in results.completions) / (P * S),
        **measures.tokens_by_verdict(correct, tokens),
        "samples": S,
        "prompts": P,
        "unknown": int(np.isnan(correct).sum()),
        **_within(results, budget),
        "lengths": {name: float(values.mean()) for name, values in results.lengths.items()},
        "vote": _votes(results, vote_width) if S >= measures.VOTERS else None,
        "pass_at_k": {str(k): measures.pass_at_k(correct, k) for k in PASS_AT if k <= S},
        "by_difficulty": _headlines(results.answers, grades),
        "by_length": _by_length(results, grades) if S >= measures.LEAST_SAMPLES else None,
        "rounds": tellings.by_round(results.problems, results.answers),
        "by_part": _headlines(results.answers, _rows_by([p.part or None for p in results.problems])),
        "seconds": results.seconds,
    }


def _rows_by(values: Sequence[Any]) -> dict[Any, list[int]]:
    """Numbers of the problems with each value; those with None are left out."""
    found = defaultdict(list)
    for row, value in enumerate(values):
        if value is not None:
            found[value].append(row)
    return dict(found)


def _by_length(results: ModelResults, grades: Mapping[Any, Sequence[int]]) -> Figures:
    """Accuracy by length of all problems and of each difficulty; `optimum_by_difficulty`: their rank correlation."""
    own = results.answers
    correct, tokens, cut = own.correct_PS, own.tokens_PS, own.truncated_PS
    curves = {
        str(grade): measures.by_length(correct[rows], tokens[rows], cut[rows])
        for grade, rows in grades.items()
    }
    best = [curve["optimum"] for curve in curves.values() if curve]
    varied = len(best) > 2 and len(set(best)) > 1
    figures: Figures = {"all": measures.by_length(correct, tokens, cut), "by_difficulty": curves}
    figures["optimum_by_difficulty"] = None
    if varied:
        from scipy.stats import rankdata  # it loads for half a second

        figures["optimum_by_difficulty"] = float(np.corrcoef(range(len(best)), rankdata(best))[0, 1])
    for name, estimate in measures.at_fixed_problem(correct, tokens).items():
        figures |= named(name, estimate)
    return figures


def reach_of(results: ModelResults, task: Task) -> Figures:
    """The block `reach`, where the task says up to which length was trained; a problem's difficulty is its length."""
    if (train_max := getattr(task, "train_max", None)) is None:
        return {}
    return {"reach": measures.reach(results.answers, results.length_P, train_max)}


def _headline(correct_PS: np.ndarray, tokens_PS: np.ndarray) -> Figures:
    accuracy, tokens = measures.accuracy(correct_PS), measures.mean_tokens(tokens_PS)
    return named("accuracy", accuracy) | named("tokens_mean", tokens)


def _headlines(answers: measures.Answers, rows_by: Mapping[Any, Sequence[int]]) -> Figures:
    """Accuracy and tokens of each group of problems."""
    return {
        str(name): _headline(answers.correct_PS[rows], answers.tokens_PS[rows]) | {"prompts": len(rows)}
        for name, rows in rows_by.items()
    }


def _within(results: ModelResults, budget: int) -> Figures:
    """Accuracy of what is finished within budgets of tokens, doubling up to the last one, and the area."""
    bases = results.answers.by_base
    table = bases.correct_PS, bases.tokens_PS, bases.truncated_PS
    budgets = measures.doubling(budget)
    within = {str(t): measures.accuracy_within(*table, t) for t in budgets}
    return {
        "tokens_within": {str(t): float(np.minimum(table[1], t).mean()) for t in budgets},
        "accuracy_within": {t: accuracy and accuracy.value for t, accuracy in within.items()},
        "accuracy_within_ci95": {t: accuracy and accuracy.ci95 for t, accuracy in within.items()},
        **named("area", measures.area_within(*table, budget)),
        "area_tokens": budget,
    }


def _votes(results: ModelResults, width: int) -> Figures:
    """Accuracy of the majority's answer and of the length-filtered one's; answers equal up to spelling."""
    answers_PS = np.asarray(results.answers.spelled_PS).tolist()
    steps_PS = np.reshape([measures.steps(text) for text in results.texts], (len(answers_PS), -1))
    ways = {
        "majority": lambda row, answers: measures.majority_vote(answers),
        "length_filtered": lambda row, answers: measures.length_filtered_vote(
            answers, steps_PS[row].tolist(), width=width
        ),
    }
    figures: Figures = {"width_steps": width}
    for name, elect in ways.items():
        verdicts = measures.vote_verdicts(answers_PS, results.answers.correct_PS, elect)
        figures |= named(name, measures.accuracy(results.answers.pooled(verdicts)))
    return figures


def of_training_free(control: str | None) -> bool:
    """A label names a way to think shorter that any model has, unlike the words that one was trained with."""
    return control not in (None, NONE) and not str(control).startswith(HINT)
