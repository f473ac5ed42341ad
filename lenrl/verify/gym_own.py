"""Scorers of our own for those generators of reasoning-gym whose scorer evaluates text, or pays what is wrong.

What the library's does, and ours does not:

    binary_matrix, n_queens, spiral_matrix, string_insertion      evaluate the answer to pay a part of the reward
    countdown, puzzle24, polynomial_multiplication,
    simple_integration, intermediate_integration                  have sympy evaluate the answer
    number_sorting, bitwise_arithmetic                            evaluate text of the entry
    number_sorting                                                takes a list of `NaN`, and numbers off by one
    puzzle24                                                      takes other numbers than the problem's
    complex_arithmetic                                            takes `nan` for every number
    coin_flip                                                     takes any beginning of the answer, `0` too
    game_of_life_halting                                          takes any text
    gsm_symbolic                                                  takes the first digits, whatever their sign
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from lenrl.verify.expressions import algebra, arithmetic

Entry = Mapping[str, Any]
FEWEST_PLACES = Fraction(1, 10_000)  # error that coin_flip allows ...
_NUMBER = re.compile(r"[$€£]? ?([-−]?\d[\d,]*(?:\.\d+)?)(?: ?[A-Za-z]+)?\.?")
SHARE = Fraction(1, 100)  # ... but no more than this share of the probability


def same(answer: str, entry: Entry) -> bool:
    """The answer as it stands."""
    return answer == entry["answer"]


def same_stripped(answer: str, entry: Entry) -> bool:
    """The answer without the space around it."""
    return answer.strip() == entry["answer"].strip()


def one_of_the_boards(answer: str, entry: Entry) -> bool:
    """n_queens: any board that solves the problem."""
    return answer in entry["metadata"]["valid_answers"]


def countdown(answer: str, entry: Entry) -> bool:
    """Each number of the problem once, and the target as the value."""
    value, numbers = arithmetic(answer)
    metadata = entry["metadata"]
    return value == metadata["target"] and sorted(numbers) == sorted(metadata["numbers"])


def puzzle24(answer: str, entry: Entry) -> bool:
    """Each number of the problem once, and 24 as the value."""
    value, numbers = arithmetic(answer)
    return value == 24 and sorted(numbers) == sorted(entry["metadata"]["numbers"])


def polynomial(answer: str, entry: Entry) -> bool:
    """polynomial_multiplication: the terms of the product."""
    return algebra(answer, {}) == algebra(entry["answer"], {})


def antiderivative(answer: str, entry: Entry) -> bool:
    """An expression whose derivative is the integrand."""
    import sympy

    variable = sympy.Symbol(entry["metadata"]["variable"])
    names = {variable.name: variable}
    derivative = sympy.diff(algebra(answer, names), variable)
    return sympy.simplify(derivative - algebra(entry["metadata"]["integrand"], names)) == 0


def bits(answer: str, entry: Entry) -> bool:
    """bitwise_arithmetic: the number, in any base that Python writes."""
    return int(answer, 0) == int(entry["answer"], 0)


def probability(answer: str, entry: Entry) -> bool:
    """coin_flip: a number or fraction near enough."""
    given, gold = (Fraction(text.replace(",", "")) for text in (answer, entry["answer"]))
    return abs(given - gold) <= min(FEWEST_PLACES, SHARE * gold)


def halts(answer: str, entry: Entry) -> bool:
    """game_of_life_halting: True or False."""
    return answer.strip().casefold() == str(entry["answer"]).strip().casefold()


def one_number(answer: str, entry: Entry) -> bool:
    """gsm_symbolic: the number with its sign, a sign of money before it or a unit of one word behind it."""
    given = _NUMBER.fullmatch(answer.strip())
    return given is not None and float(given[1].replace(",", "").replace("−", "-")) == float(entry["answer"])


def sorted_numbers(answer: str, entry: Entry) -> bool:
    """number_sorting: a JSON list of the numbers, in order."""
    given = json.loads(answer.replace("'", '"'))
    return isinstance(given, list) and [*map(float, given)] == [
        *map(float, ast.literal_eval(entry["answer"]))
    ]


def complex_number(answer: str, entry: Entry) -> bool:
    """complex_arithmetic: a number as the library reads it, and not `nan`, which equals nothing."""
    from reasoning_gym.algebra.complex_arithmetic import (  # pyright: ignore[reportMissingImports]
        ComplexArithmeticDataset,
    )

    given = ComplexArithmeticDataset.parse_string_to_complex(answer)
    return given is not None and given == complex(*entry["metadata"]["result"])


OWN: dict[str, Callable[[str, Entry], bool]] = {
    "binary_matrix": same,
    "bitwise_arithmetic": bits,
    "coin_flip": probability,
    "complex_arithmetic": complex_number,
    "countdown": countdown,
    "game_of_life_halting": halts,
    "gsm_symbolic": one_number,
    "intermediate_integration": antiderivative,
    "n_queens": one_of_the_boards,
    "number_sorting": sorted_numbers,
    "polynomial_multiplication": polynomial,
    "puzzle24": puzzle24,
    "simple_integration": antiderivative,
    "spiral_matrix": same_stripped,
    "string_insertion": same,
}
