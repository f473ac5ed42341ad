"""Completions of one model on a set of problems, and the figures that follow from them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lenrl import measures
from lenrl.evaluation import tellings
from lenrl.evaluation.fingerprint import unlike
from lenrl.generation.base import Completion, Decoding
from lenrl.measures.format import Figures, named
from lenrl.rollouts import Verdict
from lenrl.tasks import Problem, Task
from lenrl.verify.math.normalize import key

WIDE = 0.05  # half width of an accuracy's interval; above, two settings of a method can't be told apart
MUCH_TRUNCATED = 0.1  # share; above, lengths and accuracies say more of the cap than of the model
MANY_UNKNOWN = 0.05  # share of a judge's replies
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


def mark_front(entries: Sequence[Figures]) -> None:
    """Say of each model whether it is on the front of accuracy and mean tokens, among its decoding's models."""
    for name in {entry["decoding"] for entry in entries}:
        same = [entry for entry in entries if entry["decoding"] == name]
        front = measures.pareto_front([e["accuracy"] for e in same], [e["tokens_mean"] for e in same])
        for entry, on_front in zip(same, front, strict=True):
            entry["on_front"] = on_front


def pairs(measured: Sequence[tuple[ModelResults, Figures]], seed: int) -> Iterator[Figures]:
    """Each model and control against the first model without one, under the same decoding.

    `differs` says what else is not the same; `over_controls` stands where the first model was controlled.
    """
    for results, entry in measured[1:]:
        base, base_entry = next(pair for pair in measured if pair[0].decoding.name == results.decoding.name)
        if base is results:
            continue
        first, own = base.answers.by_base, results.answers.by_base
        comparison = measures.compare(first.correct_PS, first.tokens_PS, own.correct_PS, own.tokens_PS, seed)
        yield {
            "base": base.model,
            "model": results.model,
            "decoding": results.decoding.name,
            "control": results.control,
            **named("accuracy_diff", comparison.accuracy_diff),
            **named("tokens_ratio", comparison.tokens_ratio),
            "aes": comparison.aes,
            "aes_weights": {"rise": measures.AES_RISE, "fall": measures.AES_FALL},
            **_reach_lost(base, results, entry),
            **named("over_controls", _lead(measured, base, results, entry, seed)),
            "cascade": measures.cascade(results.answers, base.answers, seed),
            "rounds": tellings.round_differences(base.problems, base.answers, results.answers, seed),
            "differs": unlike(base_entry["fingerprint"], entry["fingerprint"]),
        }


def _reach_lost(base: ModelResults, results: ModelResults, entry: Figures) -> Figures:
    if "reach" not in entry:
        return {}
    train_max = entry["reach"]["train_max"]
    return {"reach": measures.reach_lost(base.answers, results.answers, base.length_P, train_max)}


def _lead(
    measured: Sequence[tuple[ModelResults, Figures]],
    base: ModelResults,
    results: ModelResults,
    entry: Figures,
    seed: int,
) -> measures.Estimate | None:
    """A model's lead over the best mixture of what the base reaches under its controls and caps; None: it has none."""
    like = (base.model, base.decoding.name)
    controlled = [
        r.answers.by_base
        for r, _ in measured
        if of_training_free(r.control) and (r.model, r.decoding.name) == like
    ]
    if not controlled or results.control != NONE:
        return None
    cut = measures.cuts(base.answers.by_base, entry["area_tokens"])
    return measures.above_front([*cut, *controlled], results.answers.by_base, seed)


def of_training_free(control: str | None) -> bool:
    """A label names a way to think shorter that any model has, unlike the words that one was trained with."""
    return control not in (None, NONE) and not str(control).startswith(HINT)


def control_warnings(results: ModelResults, free: ModelResults) -> list[str]:
    """Reasons to doubt a control, from its results and those without one."""
    if results.prompt_tokens != free.prompt_tokens:
        more = (sum(results.prompt_tokens) - sum(free.prompt_tokens)) / len(results.prompt_tokens)
        return [f"{results.control}: prompts have {more:+.1f} tokens, which are not among the completions'"]
    if all(one.ids == other.ids for one, other in zip(results.completions, free.completions, strict=True)):
        return [f"{results.control} never acted: the model opens no thinking, or ends it by itself before"]
    return []


def warnings(entry: Figures) -> list[str]:
    """Reasons to doubt the figures of one entry of `eval.json`."""
    messages = []
    if entry["accuracy"] is not None:
        half = max(abs(end - entry["accuracy"]) for end in entry["accuracy_ci95"])
        if half > WIDE:
            prompts = entry["prompts"]
            messages.append(
                f"{prompts} prompts are few: the accuracy is known to {100 * half:.1f} points; for "
                f"{100 * WIDE:.0f} give about {max(prompts + 1, round(prompts * (half / WIDE) ** 2))}"
            )
    if entry["truncated_share"] > MUCH_TRUNCATED:
        messages.append(
            f"{entry['truncated_share']:.0%} of the completions were cut at the cap: the figures say "
            "more of the cap than of the model; raise max_new_tokens"
        )
    if entry["unknown"]:
        messages.append(f"{entry['unknown']} verdicts are unknown and left out of the accuracy")
    judged = entry.get("structure", {})
    if judged.get("unknown", 0) > MANY_UNKNOWN * judged.get("judged", 0):
        messages.append(
            f"{judged['unknown']} of the judge's {judged['judged']} replies have no graph with steps"
        )
    return messages
