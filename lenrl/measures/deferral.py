"""A cascade: a short thinker answers first, and a long one, the base, where the first is unsure.

Source: Gupta et al., arXiv 2404.10136: sums, means and quantiles of a first answer's log-probs as its confidence, and
the area under the curve of accuracy over the share of answers that are deferred.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from lenrl.measures.arrays import Answers, Array, resample_weights, table
from lenrl.measures.format import Figures
from lenrl.measures.logistic import coefficients
from lenrl.measures.vote import agreement

Mask = NDArray[np.bool_]
Places = NDArray[np.intp]

QUANTILES = (0, 1, 10, 20, 25, 30, 40, 50, 75, 90)  # percent
SUMMARIES = ("sum", "mean", *(f"q{percent}" for percent in QUANTILES), "answer")
SCORES = ("sum", "mean", "q0", "q10", "q20", "q30", "q40", "q50", "answer")  # of them; the rest: `learned`
ORACLE = "oracle"  # defers as one who knows the verdicts would: the most that any score can reach
LEARNED = "learned"
FOLDS = 5  # of prompts, of which each is scored by what the others taught
LEAST_DIFFERING = 20  # prompts on which the two models differ, to learn from
RESAMPLES = 1000
BLOCK = 1_000_000  # weights that are computed at a time
SHARES = np.linspace(0, 1, 21)  # of answers that are deferred
BUDGETS = np.linspace(0, 1, 11)  # from the first model's mean tokens to the base's


def summarise(logps: Sequence[float], answer_from: int = 0) -> tuple[float, ...]:
    """`SUMMARIES` of a completion's log-probs: sum, mean, quantiles, and the mean from the token `answer_from` on.

    >>> [round(value, 3) for value in summarise([-0.1, -2.0, -0.1, -0.1], 3)][:6]
    [-2.3, -0.575, -2.0, -1.943, -1.43, -0.86]
    """
    values = np.asarray(logps, dtype=np.float64)
    if not len(values):
        return (-math.inf,) * len(SUMMARIES)
    answer = values[answer_from:] if answer_from < len(values) else values
    return (*map(float, (values.sum(), values.mean(), *np.percentile(values, QUANTILES), answer.mean())),)


def cascade(first: Answers, base: Answers, seed: int = 0) -> Figures | None:
    """Figures of a cascade by each score of the first answers, plain values; the least sure are deferred first.

    The first answer is always paid; a deferred one costs the base's mean tokens of the prompt on top and is right as
    often as the base is there. Equal scores are deferred together. Intervals: a bootstrap over prompts with the curve
    computed anew, the scores as they are.

    Args:
        base: its prompts in the same order; numbers of samples may differ.

    Returns:
        None where no prompt has known verdicts of both, or the first answers come without log-probs.
    """
    correct_PS, correct0 = table(first.correct_PS), table(base.correct_PS)
    known_PS = ~np.isnan(correct_PS) & ~np.isnan(correct0).all(axis=1, keepdims=True)
    if first.summaries_PSK is None or not known_PS.any():
        return None
    prompt_N, _ = np.nonzero(known_PS)
    right0_P = np.nansum(correct0, axis=1) / np.maximum((~np.isnan(correct0)).sum(axis=1), 1)
    own = correct_PS[known_PS], table(first.tokens_PS)[known_PS]
    rows_N4 = np.stack([*own, right0_P[prompt_N], table(base.tokens_PS).mean(axis=1)[prompt_N]], axis=1)
    bases, rng = first.tellings_BR, np.random.default_rng(seed)
    # Number of the base that a row's prompt tells
    base_N = (bases.ravel().argsort() // bases.shape[1])[prompt_N]
    scores = _scores(first, known_PS, rows_N4, base_N, seed)
    weight_BN = resample_weights(len(bases), rng, RESAMPLES)[:, base_N]
    weight_BN = weight_BN[weight_BN.sum(axis=1) > 0]
    found = {name: _by_score(score_N, rows_N4, weight_BN) for name, score_N in scores.items()}
    c, t, c0, t0 = rows_N4.mean(axis=0).tolist()
    return {
        "prompts": len(set(prompt_N.tolist())),
        "completions": len(prompt_N),
        "first": {"accuracy": c, "tokens": t},
        "base": {"accuracy": c0, "tokens": t0},
        "deferred": SHARES.tolist(),
        "within_tokens": (t + BUDGETS * (t0 - t)).tolist(),
        "scores": found,
        "best": max(found.keys() - {ORACLE}, key=lambda name: (found[name]["auc"], name)),
    }


def _scores(first: Answers, known_PS: Mask, rows_N4: Array, base_N: Places, seed: int) -> dict[str, Array]:
    """(N,) scores by name; high: the answer is kept."""
    summaries_NK = np.asarray(first.summaries_PSK, dtype=np.float64)[known_PS]
    by_name = dict(zip(SUMMARIES, summaries_NK.T, strict=True))
    scores = {name: by_name[name] for name in SCORES} | {"length": -rows_N4[:, 1]}
    agree_PS = None if first.spelled_PS is None else agreement(first.spelled_PS.tolist())
    if agree_PS is not None:
        scores["vote"] = agree_PS[known_PS]
    cut_N = table(first.truncated_PS)[known_PS]
    gain_N = rows_N4[:, 2] - rows_N4[:, 0]
    if len(set(base_N[gain_N != 0].tolist())) >= LEAST_DIFFERING:
        features = {name: by_name[name] for name in SUMMARIES if name != "answer"}
        features |= {"tokens": rows_N4[:, 1], "cut": cut_N}
        scores[LEARNED] = _learned(np.stack(list(features.values()), axis=1), gain_N, base_N, seed)
    return scores | {ORACLE: -gain_N}


def _learned(features_NF: Array, gain_N: Array, base_N: Places, seed: int) -> Array:
    """Minus the log-odds that the base gains, of a logistic regression on other prompts; weights: by how much."""
    finite_NF = np.clip(features_NF, np.ma.masked_invalid(features_NF).min(axis=0).filled(0.0), None)
    centred_NF = finite_NF - finite_NF.mean(axis=0)
    sd_F = centred_NF.std(axis=0)
    design_NF = np.column_stack([np.ones(len(gain_N)), centred_NF / np.where(sd_F > 0, sd_F, 1)])
    fold_N = np.random.default_rng(seed).permutation(base_N.max() + 1)[base_N] % FOLDS
    weight_BN = np.abs(gain_N) * (fold_N != np.arange(FOLDS)[:, None])
    found_BF = coefficients(weight_BN, (gain_N > 0).astype(float), design_NF)
    return -(design_NF * found_BF[fold_N]).sum(axis=1)


def _by_score(score_N: Array, rows_N4: Array, weight_BN: Array) -> Figures:
    """Figures of one score, with intervals."""
    order = np.argsort(score_N, kind="stable")
    sorted_N = score_N[order]  # of empty answers -inf, whose differences are NaN
    # The ends of each run of equal scores
    ends = np.append(np.nonzero(sorted_N[1:] != sorted_N[:-1])[0], len(order) - 1)
    blocks = np.array_split(weight_BN, -(-weight_BN.size // BLOCK))
    found = [each for block_BN in blocks for each in _figures(rows_N4[order], ends, block_BN[:, order])]
    figures: Figures = {}
    for name in found[0]:
        values_BV = np.array([each[name] for each in found])
        figures[name] = values_BV[0].tolist()
        figures[f"{name}_ci95"] = np.apply_along_axis(_interval, 0, values_BV).T.tolist()
    return figures


def _interval(values_B: Array) -> tuple[float, float]:
    """Ends of the first value's interval from its resamples, corrected for their bias: of a noisy curve the first point
    that reaches something comes too early. Source: Efron, Annals of Statistics 15 (1987), 171-200."""
    value, drawn = values_B[0], values_B[1:][np.isfinite(values_B[1:])]
    if not len(drawn):
        return math.nan, math.nan
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    z = ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    low, high = np.quantile(drawn, ndtr(2 * z + ndtri([0.025, 0.975])))
    return float(np.fmin(low, value)), float(np.fmax(high, value))


def _figures(rows_N4: Array, ends_K: Places, weight_BN: Array) -> Iterator[Figures]:
    """Figures of each of B resamples; rows: the least sure first."""
    share_BN = weight_BN / weight_BN.sum(axis=1, keepdims=True)
    mean_B4 = share_BN @ rows_N4

    def after(each_N: Array | float, start_B: Array | float = 0.0) -> Array:
        """Sums that begin with deferring none; then the first run of equal scores, the second, ..., all."""
        sums_BK = np.cumsum(share_BN * each_N, axis=1)[:, ends_K]
        return np.pad(sums_BK, ((0, 0), (1, 0))) + np.asarray(start_B)[..., None]

    deferred_BK = after(1.0)
    accuracy_BK = after(rows_N4[:, 2] - rows_N4[:, 0], mean_B4[:, 0])
    tokens_BK = after(rows_N4[:, 3], mean_B4[:, 1])
    area_B = np.asarray(np.trapezoid(accuracy_BK, deferred_BK, axis=1))
    most_BK = np.maximum.accumulate(accuracy_BK, axis=1)
    for b, (c, t, base, long) in enumerate(mean_B4):
        accuracy_K, tokens_K, most_K = accuracy_BK[b], tokens_BK[b], most_BK[b]
        reached = int(np.searchsorted(most_K, base - 1e-12))
        parity = tokens_K[reached]
        if reached:
            low, high = accuracy_K[reached - 1], accuracy_K[reached]
            parity -= (high - base) / max(high - low, 1e-12) * (parity - tokens_K[reached - 1])
        budgets = t + BUDGETS * (long - t)
        known = most_K[np.searchsorted(tokens_K, budgets, side="right") - 1]
        within = np.maximum(known, np.interp(budgets, tokens_K, accuracy_K))
        yield {
            "auc": area_B[b],
            "gain": 2 * area_B[b] / (c + base) - 1 if c + base else np.nan,
            "tokens_at_parity": parity,
            "share_at_parity": parity / long,
            "accuracy_within": within if long >= t - 1e-9 else np.full(len(BUDGETS), np.nan),
            "accuracy": np.interp(SHARES, deferred_BK[b], accuracy_K),
            "tokens": np.interp(SHARES, deferred_BK[b], tokens_K),
        }
