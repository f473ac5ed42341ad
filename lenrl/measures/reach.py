"""Reach: the longest problems still solved, where the longest trained ones are known; what a model lost of it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenrl.measures.arrays import Answers, Array, prompt_means, resample_weights
from lenrl.measures.format import Figures, named
from lenrl.measures.intervals import Estimate, accuracy, mean_tokens, of_resamples
from lenrl.measures.paired import compare, resampled_difference

RESAMPLES = 1000
LEVELS = (90, 50)  # per cent


def reach(answers: Answers, length_P: ArrayLike, train_max: int) -> Figures:
    """Accuracy and tokens up to the trained length and beyond, `reach_90`, `reach_50` and `growth`; plain values.

    `reach_90` is the largest length such that accuracy is .9 or more at it and at all shorter ones, 0 where none is;
    its interval is a bootstrap over prompts within each length. `growth` is the slope of log tokens on log length
    over right completions of problems with a length: 1 is a step an element.
    """
    correct, tokens, length = answers.correct_PS, answers.tokens_PS, np.asarray(length_P)
    figures: Figures = {"train_max": train_max}
    for name, rows in _parts(length, train_max).items():
        some = rows.any()
        figures[name] = {
            "prompts": int(rows.sum()),
            **named("accuracy", accuracy(correct[rows]) if some else None),
            **named("tokens_mean", mean_tokens(tokens[rows]) if some else None),
        }
    for level, values_R in _reached(correct, length).items():
        figures |= named(f"reach_{level}", of_resamples(values_R))
    return figures | named("growth", _growth(correct, tokens, length))


def reach_lost(base: Answers, model: Answers, length_P: ArrayLike, train_max: int) -> Figures:
    """A model minus a base on the same prompts in the same order: reach, `extra_cost`, ratios of tokens; plain values.

    `extra_cost` is the difference of accuracy beyond the trained length minus that up to it: negative where more was
    lost beyond. None where a part has no problem.
    """
    correct0, tokens0, correct, tokens = base.correct_PS, base.tokens_PS, model.correct_PS, model.tokens_PS
    length, rng = np.asarray(length_P), np.random.default_rng(0)
    figures, differences = Figures(), []
    for name, rows in _parts(length, train_max).items():
        differences.append(resampled_difference(correct0[rows], correct[rows], rng))
        both = compare(correct0[rows], tokens0[rows], correct[rows], tokens[rows]) if rows.any() else None
        figures |= named(f"tokens_ratio_{name}", both and both.tokens_ratio)
    inside, outside = differences
    cost = inside and outside and of_resamples(np.append(outside[0] - inside[0], outside[1] - inside[1]))
    figures |= named("extra_cost", cost)
    before, after = _reached(correct0, length), _reached(correct, length)
    for level in LEVELS:
        figures |= named(f"reach_{level}_diff", of_resamples(after[level] - before[level]))
    return figures


def _parts(length_P: NDArray[Any], train_max: int) -> dict[str, NDArray[np.bool_]]:
    return {"inside": length_P <= train_max, "outside": length_P > train_max}


def _reached(correct_PS: Array, length_P: NDArray[Any]) -> dict[int, Array]:
    """By level, the reach of the data first and then of each resample; equal draws for equal prompts."""
    lengths, rng = np.unique(length_P), np.random.default_rng(0)
    accuracy_RL = np.zeros((1 + RESAMPLES, len(lengths)))
    for place, n in enumerate(lengths):
        means_P, _ = prompt_means(correct_PS[length_P == n])
        if P := len(means_P):
            weight_RP = resample_weights(P, rng, RESAMPLES)
            accuracy_RL[:, place] = weight_RP @ means_P / P
    solved = {level: accuracy_RL >= level / 100 - 1e-9 for level in LEVELS}
    return {
        level: np.where(np.logical_and.accumulate(solved_RL, axis=1), lengths, 0.0).max(axis=1)
        for level, solved_RL in solved.items()
    }


def _growth(correct_PS: Array, tokens_PS: Array, length_P: NDArray[Any]) -> Estimate | None:
    right_PS = correct_PS == 1
    used_P = right_PS.any(axis=1) & (length_P > 0)
    if len(np.unique(length_P[used_P])) < 2:
        return None
    logs_PS = np.where(right_PS, np.log(np.maximum(tokens_PS, 1)), 0.0)
    y_P, x_P = logs_PS[used_P].sum(1) / right_PS[used_P].sum(1), np.log(length_P[used_P])
    P = len(x_P)
    weight_RP = resample_weights(P, np.random.default_rng(0), RESAMPLES)
    x_R, y_R, xx_R, xy_R = ((weight_RP @ values) / P for values in (x_P, y_P, x_P**2, x_P * y_P))
    spread_R = xx_R - x_R**2
    varied_R = spread_R > 1e-12
    return of_resamples((xy_R - x_R * y_R)[varied_R] / spread_R[varied_R])
