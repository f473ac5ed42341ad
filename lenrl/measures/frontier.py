"""A model against the best mixture of training-free controls that pays as many tokens."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import Answers, Array, table
from lenrl.measures.budget import right_within
from lenrl.measures.intervals import Estimate, of_resamples

RESAMPLES = 4000
FIRST_BUDGET = 16  # tokens


def cuts(answers: Answers, most: float) -> list[Answers]:
    """A model as it is, and cut at `FIRST_BUDGET` tokens, twice as many, ..., below `most`, and at `most`."""
    tokens, cut_PS = answers.tokens_PS, answers.truncated_PS
    within = [
        replace(
            answers,
            correct_PS=right_within(answers.correct_PS, tokens, cut_PS, budget),
            tokens_PS=np.minimum(tokens, budget),
        )
        for budget in doubling(most)
    ]
    return [answers, *within]


def doubling(most: float) -> list[float]:
    """Budgets of tokens: `FIRST_BUDGET`, twice, four times it, ..., below `most`, and `most`.

    >>> doubling(100)
    [16, 32, 64, 100]
    """
    return [*(FIRST_BUDGET * 2**n for n in range(64) if FIRST_BUDGET * 2**n < most), most]


def mixture(tokens_K: ArrayLike, accuracy_K: ArrayLike, budget_B: ArrayLike) -> Array:
    """(B,) largest accuracies of mixtures of K controls with mean tokens of a budget at most; NaN below the cheapest.

    In a mixture each control answers a share of the prompts.

    >>> mixture([25.8, 31.6, 87.0], [0.546, 0.896, 0.830], [20, 28, 60]).round(4).tolist()
    [nan, 0.6788, 0.896]
    """
    tokens, accuracies = np.asarray(tokens_K, dtype=float), np.asarray(accuracy_K, dtype=float)
    return _mixtures(tokens[None], accuracies[None], np.asarray(budget_B, dtype=float))


def above_front(points: Sequence[Answers], model: Answers, seed: int = 0) -> Estimate | None:
    """A model's accuracy minus that of the best mixture of the points with the model's mean tokens.

    Prompts are resampled, with all points, the mixture and the model computed anew. The mixture is the largest of noisy
    figures, so that the lead is rather too small. As in `compare`, one pseudo-prompt is won and one is lost. None if
    no prompt has a known verdict everywhere, or the model pays less than every point.

    Args:
        points: of the base: as it is, and under each control; P prompts each, in one order.
        model: on the same prompts; numbers of samples may differ.
    """
    correct = [table(point.correct_PS) for point in (*points, model)]
    known_P = np.all([~np.isnan(verdicts).all(axis=1) for verdicts in correct], axis=0)
    if not known_P.any():
        return None
    accuracy_PK = np.stack([np.nanmean(verdicts[known_P], axis=1) for verdicts in correct], axis=1)
    tokens_PK = np.stack([table(p.tokens_PS)[known_P].mean(axis=1) for p in (*points, model)], axis=1)
    value = float(_leads(accuracy_PK.mean(axis=0)[None], tokens_PK.mean(axis=0)[None])[0])
    if math.isnan(value):
        return None
    samples = float((~np.isnan(correct[-1][known_P])).sum(axis=1).mean())
    pseudo_2K = np.tile(accuracy_PK.mean(axis=0), (2, 1))
    pseudo_2K[:, -1] += np.array([1, -1]) * math.sqrt(0.5 / samples)
    accuracy_PK = np.concatenate([accuracy_PK, pseudo_2K])
    tokens_PK = np.concatenate([tokens_PK, np.tile(tokens_PK.mean(axis=0), (2, 1))])
    share_BP = _shares(len(accuracy_PK), seed, RESAMPLES)
    return of_resamples(np.append(value, _leads(share_BP @ accuracy_PK, share_BP @ tokens_PK)))


@lru_cache(maxsize=1)
def _shares(P: int, seed: int, times: int) -> Array:
    """(times, P) shares of the prompts in bootstrap samples; the same for each of many models, and dear."""
    return np.random.default_rng(seed).multinomial(P, np.full(P, 1 / P), times) / P


def _leads(accuracy_BK: Array, tokens_BK: Array) -> Array:
    """(B,) leads of the last point over mixtures of the others."""
    best_B = _mixtures(tokens_BK[:, :-1], accuracy_BK[:, :-1], tokens_BK[:, -1])
    return accuracy_BK[:, -1] - best_B


def _mixtures(tokens_BK: Array, accuracy_BK: Array, budget_B: Array) -> Array:
    """(B,) accuracies: the best point within the budget, or the best chord from one within it to one beyond it."""
    left_BK = budget_B[:, None] - tokens_BK
    within_BK = left_BK >= 0
    best_B = np.where(within_BK, accuracy_BK, -np.inf).max(axis=1)
    for far in range(tokens_BK.shape[1]):
        beyond_B1 = ~within_BK[:, far, None]
        share_BK = left_BK / np.maximum(tokens_BK[:, far, None] - tokens_BK, 1e-12)
        chord_BK = accuracy_BK + share_BK * (accuracy_BK[:, far, None] - accuracy_BK)
        best_B = np.maximum(best_B, np.where(within_BK & beyond_B1, chord_BK, -np.inf).max(axis=1))
    return np.where(np.isfinite(best_B), best_B, np.nan)
