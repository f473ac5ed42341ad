"""Problems that are told in several rounds, longer each time: the tellings of a base problem belong together."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from lenrl import measures
from lenrl.measures.format import Figures, named
from lenrl.measures.paired import accuracy_difference
from lenrl.tasks import Problem


def bases_of(problems: Sequence[Problem]) -> list[str] | None:
    """The id of each problem's first telling, its own where it is none; None: no problem is told twice."""
    first: dict[Any, str] = {}
    bases = [first.setdefault(_base(problem) or problem.id, problem.id) for problem in problems]
    return bases if len(first) < len(bases) else None


def _base(problem: Problem) -> tuple[str, object] | None:
    """The part of a mix and the base that a problem is a telling of; None: it is none."""
    base, number = problem.columns.get("base"), problem.columns.get("round")
    return (problem.part, base) if type(number) is int and isinstance(base, str | int) else None


def warnings_of(problems: Sequence[Problem]) -> list[str]:
    """The reason why intervals are too narrow, if tellings of a problem count as problems of their own."""
    bases = bases_of(problems)
    if bases is None or measures.rows_of_each(bases) is not None:
        return []
    return [
        "not every problem is told in as many rounds, so that intervals take tellings for problems and are too narrow; "
        "leave out the problems that miss a round"
    ]


def rounds_of(problems: Sequence[Problem]) -> np.ndarray | None:
    """(B, R) places of the problems that are told in every round, by their columns; None: they have no rounds."""
    told: dict[Any, dict[Any, int]] = defaultdict(dict)
    for place, problem in enumerate(problems):
        if base := _base(problem):
            told[base][problem.columns["round"]] = place
    numbers = sorted({number for places in told.values() for number in places})
    whole = [[places[n] for n in numbers] for places in told.values() if len(places) == len(numbers)]
    return np.array(whole) if len(numbers) > 1 and whole else None


def by_round(problems: Sequence[Problem], own: measures.Answers) -> Figures | None:
    """Accuracy and tokens by round, of the problems that are told in all; `left_out`: rows of others."""
    places_BR = rounds_of(problems)
    if places_BR is None:
        return None
    figures = measures.figures_of_rounds(own.correct_PS[places_BR], own.tokens_PS[places_BR])
    return figures | {"left_out": len(problems) - places_BR.size}


def round_differences(
    problems: Sequence[Problem], base: measures.Answers, own: measures.Answers, seed: int
) -> Figures | None:
    """The difference of CoLeG-E, and how tokens grow from the first round to the last: base, model."""
    places_BR = rounds_of(problems)
    if places_BR is None:
        return None
    before, after = (measures.every_round(each.correct_PS[places_BR]) for each in (base, own))
    gain = accuracy_difference(before, after, np.random.default_rng(seed))
    ends = [each.tokens_PS[places_BR[:, [0, -1]]].mean(axis=(0, 2)) for each in (base, own)]
    return {**named("coleg_e_diff", gain), "tokens_growth": [float(last / first) for first, last in ends]}
