"""What one model did on a set of problems, and the figures that follow from it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lenrl import measures
from lenrl.engine.sample import Completion
from lenrl.errors import BadInput
from lenrl.rollouts import Verdict
from lenrl.tasks import Problem

FEW_PROMPTS = 100  # below, the 95 % interval of an accuracy is 20 points wide or wider
MUCH_TRUNCATED = 0.1  # share; above, lengths and accuracies say more of the cap than of the model
MAX_GRADES = 20  # different difficulties; more are no breakdown
PASS_AT = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Decoding:
    """How completions are drawn. Greedy takes one sample; its temperature, top_p and top_k mean nothing."""

    name: str  # sampled | greedy
    samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            f"decoding {self.name!r} is unknown; there are sampled, greedy": self.name
            in ("sampled", "greedy"),
            f"samples={self.samples} is below 1": self.samples >= 1,
            f"max_new_tokens={self.max_new_tokens} is below 1": self.max_new_tokens >= 1,
            f"temperature={self.temperature} is not above 0; for the most probable token give greedy=true": (
                0 < self.temperature < math.inf
            ),
            f"top_p={self.top_p} is outside (0, 1]; 1 keeps everything": 0 < self.top_p <= 1,
            f"top_k={self.top_k} is negative; 0 keeps everything": self.top_k >= 0,
        }
        for complaint, holds in rules.items():
            if not holds:
                raise BadInput(complaint)


@dataclass(frozen=True)
class Outcome:
    """What one model did under one decoding: P prompts, S samples; lists run prompt by prompt."""

    model: str
    decoding: Decoding
    problems: Sequence[Problem]
    completions: list[Completion]
    texts: list[str]
    verdicts: list[Verdict]
    seconds: dict[str, float]

    @property
    def correct_PS(self) -> np.ndarray:
        """Verdicts, (P, S): 1, 0 or NaN."""
        values = [math.nan if v.correct is None else float(v.correct) for v in self.verdicts]
        return np.array(values).reshape(len(self.problems), -1)

    @property
    def tokens_PS(self) -> np.ndarray:
        """Tokens, (P, S)."""
        return np.array([len(c.ids) for c in self.completions], dtype=float).reshape(len(self.problems), -1)


def describe(outcome: Outcome) -> dict[str, Any]:
    """The figures of one model under one decoding, plain values."""
    correct, tokens = outcome.correct_PS, outcome.tokens_PS
    P, S = tokens.shape
    grades = defaultdict(list)
    for row, problem in enumerate(outcome.problems):
        if problem.difficulty is not None:
            grades[problem.difficulty].append(row)
    grades = grades if len(grades) <= MAX_GRADES else {}
    return {
        "model": outcome.model,
        "decoding": outcome.decoding.name,
        **_headline(correct, tokens),
        "tokens_p50": measures.percentile(tokens, 50),
        "tokens_p95": measures.percentile(tokens, 95),
        "tokens_p99": measures.percentile(tokens, 99),
        "truncated_share": sum(c.truncated for c in outcome.completions) / (P * S),
        **measures.tokens_by_verdict(correct, tokens),
        "samples": S,
        "prompts": P,
        "unknown": int(np.isnan(correct).sum()),
        "pass_at_k": {str(k): measures.pass_at_k(correct, k) for k in PASS_AT if k <= S},
        "by_difficulty": {
            str(grade): _headline(correct[rows], tokens[rows]) | {"prompts": len(rows)}
            for grade, rows in sorted(grades.items(), key=lambda item: (isinstance(item[0], str), item[0]))
        },
        "seconds": outcome.seconds,
    }


def _headline(correct_PS: np.ndarray, tokens_PS: np.ndarray) -> dict[str, Any]:
    accuracy, tokens = measures.accuracy(correct_PS), measures.mean_tokens(tokens_PS)
    return {
        "accuracy": accuracy.value if accuracy else None,
        "accuracy_ci95": accuracy.ci95 if accuracy else None,
        "tokens_mean": tokens.value,
        "tokens_mean_ci95": tokens.ci95,
    }


def pairs(outcomes: Sequence[Outcome], seed: int) -> Iterator[dict[str, Any]]:
    """Each model against the first one, under the same decoding."""
    for outcome in outcomes[1:]:
        base = next(o for o in outcomes if o.decoding.name == outcome.decoding.name)
        if base is outcome:
            continue
        found = measures.compare(base.correct_PS, base.tokens_PS, outcome.correct_PS, outcome.tokens_PS, seed)
        diff = found.accuracy_diff
        yield {
            "base": base.model,
            "model": outcome.model,
            "decoding": outcome.decoding.name,
            "accuracy_diff": diff.value if diff else None,
            "accuracy_diff_ci95": diff.ci95 if diff else None,
            "tokens_ratio": found.tokens_ratio.value,
            "tokens_ratio_ci95": found.tokens_ratio.ci95,
            "aes": found.aes,
            "aes_weights": {"rise": measures.AES_RISE, "fall": measures.AES_FALL},
        }


def warnings(entry: Mapping[str, Any]) -> list[str]:
    found = []
    prompts = entry["prompts"]
    if prompts < FEW_PROMPTS:
        found.append(
            f"{prompts} prompts are few: an accuracy is known to about {98 / prompts**0.5:.0f} points either "
            f"way; give at least {FEW_PROMPTS} before comparing"
        )
    if entry["truncated_share"] > MUCH_TRUNCATED:
        found.append(
            f"{entry['truncated_share']:.0%} of the completions were cut at the cap: the figures say "
            "more of the cap than of the model; raise max_new_tokens"
        )
    if entry["unknown"]:
        found.append(f"{entry['unknown']} verdicts are unknown and left out of the accuracy")
    return found
