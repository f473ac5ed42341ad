"""Tables of verdicts and lengths, and what all intervals share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # scipy.stats would load for half a second

LEVEL = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Answers of one model, all that measures read of them: P prompts, S samples of each."""

    prompts: Sequence[Hashable]  # names of the P
    correct_PS: Array  # 1, 0 or NaN: unknown
    tokens_PS: Array  # that were paid
    truncated_PS: Array  # 1: cut by the cap
    summaries_PSK: Array | None = None  # of the log-probs, see `lenrl.measures.summarise`
    spelled_PS: NDArray[Any] | None = None  # the answers, equal ones in one spelling; None: there is none
    base_P: NDArray[Any] | None = None  # the problem that a prompt tells, perhaps again; None: one each

    @classmethod
    def of_rows(
        cls,
        prompts: Sequence[Hashable],
        correct: Sequence[float | None],
        tokens: Sequence[float],
        truncated: Sequence[float] | None = None,
        summaries: Sequence[Sequence[float]] | None = None,
        spelled: Sequence[str | None] | None = None,
        bases: Sequence[Hashable] | None = None,
    ) -> Answers | None:
        """Answers of N rows in any order; None: there are none, or not as many of each prompt.

        Raises:
            ValueError: not all columns have N rows.
        """
        order_PS = rows_of_each(prompts)
        if order_PS is None:
            return None
        cut = [0] * len(prompts) if truncated is None else map(bool, truncated)
        rows_N3 = np.array(list(zip(correct, tokens, cut, strict=True)), dtype=np.float64)
        return cls(
            [prompts[row] for row in order_PS[:, 0]],
            *np.moveaxis(rows_N3[order_PS], -1, 0),
            summaries_PSK=None if summaries is None else np.array(summaries, dtype=np.float64)[order_PS],
            spelled_PS=None if spelled is None else np.array(spelled, dtype=object)[order_PS],
            base_P=None if bases is None else np.array(bases, dtype=object)[order_PS[:, 0]],
        )

    def in_order_of(self, other: Answers) -> Answers | None:
        """The same with the prompts in the other's order, and its bases; None: the other has other prompts."""
        if self.prompts == other.prompts and self.base_P is other.base_P:
            return self
        places = {name: place for place, name in enumerate(self.prompts)}
        if places.keys() != set(other.prompts):
            return None
        order = [places[name] for name in other.prompts]
        columns = {column.name: getattr(self, column.name) for column in fields(self)}
        ordered = {name: v[order] for name, v in columns.items() if isinstance(v, np.ndarray)}
        return replace(self, prompts=other.prompts, **ordered | {"base_P": other.base_P})

    @classmethod
    def together(cls, several: Sequence[Answers]) -> Answers:
        """All samples of each prompt, of answers with the same prompts in one order."""
        names = ("correct_PS", "tokens_PS", "truncated_PS")
        tables = (np.hstack([getattr(answers, name) for answers in several]) for name in names)
        return cls(several[0].prompts, *tables, base_P=several[0].base_P)

    @cached_property
    def tellings_BR(self) -> NDArray[np.intp]:
        """Numbers of the prompts that tell each base; each by itself where not all are told as often."""
        places = None if self.base_P is None else rows_of_each(self.base_P.tolist())
        return np.arange(len(self.prompts))[:, None] if places is None else places

    @cached_property
    def by_base(self) -> Answers:
        """The answers with all tellings of a base as its samples: for intervals, as tellings agree."""
        tables = (self.pooled(table) for table in (self.correct_PS, self.tokens_PS, self.truncated_PS))
        return Answers(range(len(self.tellings_BR)), *tables)

    def pooled(self, values_PS: Array) -> Array:
        """(B, R * S) values of each base."""
        return values_PS[self.tellings_BR].reshape(len(self.tellings_BR), -1)


def rows_of_each(names: Sequence[Hashable]) -> NDArray[np.intp] | None:
    """(names, rows of each), in the order of their first rows; None: there are none, or not as many of each."""
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    place_N = [places[name] for name in names]
    if len(set(np.bincount(place_N).tolist())) != 1:
        return None
    return np.argsort(place_N, kind="stable").reshape(len(places), -1)


def table(values: ArrayLike) -> Array:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"shape {table.shape}, expected (prompts, samples) with at least one sample")
    return table


def prompt_means(correct_PS: Array) -> tuple[Array, float]:
    """Mean of the known verdicts of each prompt that has any, and how many verdicts those have on average."""
    known_PS = ~np.isnan(correct_PS)
    known_P = known_PS.sum(axis=1)
    has = known_P > 0
    sums = np.where(known_PS, correct_PS, 0.0).sum(axis=1)
    return sums[has] / known_P[has], float(known_P[has].mean()) if has.any() else 0.0


def resample_weights(P: int, rng: np.random.Generator, times: int) -> Array:
    """(1 + times, P): how often each prompt counts, in the data themselves first, then in bootstrap samples."""
    return np.vstack([np.ones(P), rng.multinomial(P, np.full(P, 1 / P), times).astype(float)])


def quantile(P: int) -> float:
    """Student's quantile for P prompts; two prompts or fewer would make it useless, hence the floor."""
    return float(stdtrit(max(P - 1, 2), (1 + LEVEL) / 2))
