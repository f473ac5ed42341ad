"""Problems that are told in several rounds, longer each time: the tellings of a base problem belong together."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from lenrl import measures
from lenrl.measures.format import Figures, named
from lenrl.measures.paired import accuracy_difference
from lenrl.tasks import Problem


def bases_of(problems: Sequence[Problem]) -> np.ndarray:
    """(B, R) places of the problems by base; each by itself where there is none, or not as many tellings of each."""
    told: dict[Any, list[int]] = defaultdict(list)
    for place, problem in enumerate(problems):
        told[problem.columns["base"] if _is_telling(problem) else (problem.id, place)].append(place)
    alike = len({len(places) for places in told.values()}) == 1
    return np.array(list(told.values())) if alike else np.arange(len(problems))[:, None]


def _is_telling(problem: Problem) -> bool:
    return type(problem.columns.get("round")) is int and isinstance(problem.columns.get("base"), str | int)


def warnings_of(problems: Sequence[Problem]) -> list[str]:
    """The reason why intervals are too narrow, if tellings of a problem count as problems of their own."""
    told = [problem.columns["base"] for problem in problems if _is_telling(problem)]
    if len(set(told)) == len(told) or bases_of(problems).shape[1] > 1:
        return []
    return [
        "not every problem is told in as many rounds, so that intervals take tellings for problems and are too narrow; "
        "leave out the problems that miss a round"
    ]


def rounds_of(problems: Sequence[Problem]) -> np.ndarray | None:
    """(B, R) places of the problems that are told in every round, by their columns; None: they have no rounds."""
    told: dict[Any, dict[Any, int]] = defaultdict(dict)
    for place, problem in enumerate(problems):
        if _is_telling(problem):
            told[problem.columns["base"]][problem.columns["round"]] = place
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
