"""Chains of single digits such as `3+4*2-7`, evaluated left to right modulo 10.

Small enough for a model of some hundred kilobytes, and yet a problem that needs its steps: the number
of steps grows with the number of operands, and an answer without steps is mostly a guess.
"""

import hashlib
import itertools
import random
import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from lenrl.tasks.base import SPLITS, Task
from lenrl.tasks.problem import Problem

T = TypeVar("T")

DIGITS = "0123456789"
OPERATORS = "+-*"
MOST = 1_000_000  # problems of a split: all are in memory
SPLIT_PERCENT = {"sft": 40, "train": 30, "dev": 15, "test": 15}

RECHECK_WEIGHTS = (1, 2, 4, 4, 2)  # of 0, 1, ... repetitions of the whole computation
MAX_TRACE_STEPS = 28  # over all passes of one trace; bounds its length in tokens
DIRECT_SHARE = 0.04  # traces without steps
MERGED_SHARE = 0.05  # traces with two steps a line
AGAIN = "Wait"  # a line, before a repetition
LINE = re.compile(r"([0-9])((?:[-+*][0-9]){1,16})=([0-9])")  # of a pass: value, operators with digits, result
SLIP_SHARE = 0.008  # chance of a wrong result, a line


class ChainTask(Task, frozen=True):
    """Problems of `min_operands` to `max_operands` digits, or of the numbers in `operands`, taking turns.

    Numbers of which no more problems exist drop out.
    """

    name: Literal["chain"] = "chain"
    train: int = Field(default=4000, ge=0, le=MOST)  # problems
    dev: int = Field(default=200, ge=0, le=MOST)  # problems
    test: int = Field(default=500, ge=0, le=MOST)  # problems
    answers_unasked: bool = True  # as the embedded model does, which it was made for
    min_operands: int = Field(default=2, ge=2, le=16)  # digits in a chain
    max_operands: int = Field(default=8, ge=2, le=16)  # digits in a chain
    # These numbers of digits only, taking turns
    operands: tuple[Annotated[int, Field(ge=2, le=16)], ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_operands > self.max_operands:
            raise ValueError(
                f"min_operands={self.min_operands} is above max_operands={self.max_operands}; "
                "the range would be empty: lower min_operands or raise max_operands"
            )
        if len(set(self.operands)) < len(self.operands):
            raise ValueError(
                f"operands={self.operands} names a number twice; they take turns in equal shares"
            )
        if self.operands and {"min_operands", "max_operands"} & self.model_fields_set:
            raise ValueError(
                "operands and min_operands or max_operands are set; set either the list or the range"
            )
        return self

    def problems(self, split: str, count: int | None = None) -> list[Problem]:
        """The first `count` problems of a split (default: the split's own number), without duplicates.

        A shorter list is a prefix of a longer one. Operand counts alternate, so that every prefix is
        spread as evenly over them as the number of existing problems allows.

        Raises:
            ValueError: the split is unknown, or holds fewer than `count` problems.
        """
        if split not in SPLIT_PERCENT:
            raise ValueError(f"split={split!r} is unknown; a chain task has {', '.join(SPLIT_PERCENT)}")
        count = getattr(self, split) if count is None and split in SPLITS else count
        if count is None:
            raise ValueError(f"split={split!r} has no number of problems of its own; pass count")
        if count < 0:
            raise ValueError(f"count={count} is negative; ask for 0 or more problems")
        lengths = self.operands or range(self.min_operands, self.max_operands + 1)
        drawn = list(itertools.islice(alternate([_texts(n, split, self.seed) for n in lengths]), count))
        if len(drawn) < count:
            raise ValueError(
                f"count={count} problems asked of split {split!r}, but only {len(drawn)} exist with "
                f"{min(lengths)} to {max(lengths)} operands; ask for fewer, or for longer ones"
            )
        return [
            Problem(f"chain:{text}", text, answer=str(evaluate(text)), difficulty=len(text) // 2 + 1)
            for text in drawn
        ]

    def attempts(self, problem: Problem, thinking: str, answer: str | None) -> list[tuple[list[str], bool]]:
        """Passes, between lines that say `Wait`; a line that does not go on from the one before breaks its pass."""
        passes = passes_of(thinking)
        return [(lines, answer is None or _result(problem.prompt, lines) != answer) for lines in passes]


def passes_of(thinking: str) -> list[list[str]]:
    """Lines that are not blank between lines that say `Wait`."""
    lines = filter(None, map(str.strip, thinking.split("\n")))
    return [list(some) for again, some in itertools.groupby(lines, AGAIN.__eq__) if not again]


def _result(text: str, lines: list[str]) -> str | None:
    """The digit that a pass ends with; None: it is broken, or not at the chain's end."""
    value, rest = text[0], text[1:]
    for match in map(LINE.fullmatch, lines):
        if match is None or match[1] != value or not rest.startswith(match[2]):
            return None
        value, rest = match[3], rest[len(match[2]) :]
    return None if rest else value


def split_of(text: str) -> str:
    """The only split a problem belongs to, by a hash of its text; independent of every seed."""
    place = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % 100
    for split, percent in SPLIT_PERCENT.items():
        if place < percent:
            return split
        place -= percent
    raise AssertionError("the percentages of the splits don't sum to 100")


def steps(text: str) -> list[tuple[int, str, int]]:
    """The steps of a chain as (left digit, operator, right digit), the left one being the running value."""
    value, done = int(text[0]), []
    for operator, digit in zip(text[1::2], text[2::2], strict=True):
        done.append((value, operator, int(digit)))
        value = _apply(value, operator, int(digit))
    return done


def evaluate(text: str) -> int:
    """Value of a chain, left to right, modulo 10."""
    return _apply(*steps(text)[-1])


def sft_trace(text: str, rng: random.Random, rechecks: bool = True, direct: float = DIRECT_SHARE) -> str:
    """One completion for the fine-tuning set, without the end-of-text token: right mostly, and too long.

    After `Wait` the whole computation is repeated. A few traces are shorter and riskier: a share `direct`
    answers without steps, some do two steps a line. A few lines slip and carry a wrong digit on. Without
    `rechecks` there is one pass only.
    """
    if rng.random() < direct:
        think = "<think>\n</think>\n" if rng.random() < 0.5 else ""
        return f"{think}\\boxed{{{evaluate(text)}}}"
    steps_a_line = 2 if rng.random() < MERGED_SHARE else 1
    weights = RECHECK_WEIGHTS[: MAX_TRACE_STEPS // len(steps(text))]
    repeats = rng.choices(range(len(weights)), weights)[0] if rechecks else 0
    passes = [_compute(text, steps_a_line, rng) for _ in range(1 + repeats)]
    body = f"\n{AGAIN}\n".join("\n".join(lines) for lines in passes)
    return f"<think>\n{body}\n</think>\n\\boxed{{{passes[-1][-1][-1]}}}"


def _compute(text: str, steps_a_line: int, rng: random.Random) -> list[str]:
    """The lines of one pass; the last character of the last line is its result."""
    value, rest, lines = int(text[0]), text[1:], []
    while rest:
        part, rest = rest[: 2 * steps_a_line], rest[2 * steps_a_line :]
        line = f"{value}{part}"
        value = evaluate(line)
        if rng.random() < SLIP_SHARE:
            value = (value + rng.randint(1, 9)) % 10
        lines.append(f"{line}={value}")
    return lines


def _apply(left: int, operator: str, right: int) -> int:
    match operator:
        case "+":
            return (left + right) % 10
        case "-":
            return (left - right) % 10
        case "*":
            return left * right % 10
    raise ValueError(f"operator {operator!r} is unknown; a chain has only {OPERATORS}")


def _texts(operands: int, split: str, seed: int) -> Iterator[str]:
    """All problems of one length in one split, in an order that depends on the seed only."""
    rng = random.Random(f"{seed}:{split}:{operands}")
    # Rejection is cheap until about half of what exists is taken; then the rest is listed.
    existing = len(DIGITS) * (len(DIGITS) * len(OPERATORS)) ** (operands - 1) * SPLIT_PERCENT[split] // 100
    seen: set[str] = set()
    while len(seen) < existing // 2:
        text = "".join(rng.choice(DIGITS if i % 2 == 0 else OPERATORS) for i in range(2 * operands - 1))
        if text not in seen and split_of(text) == split:
            seen.add(text)
            yield text
    places = [DIGITS if i % 2 == 0 else OPERATORS for i in range(2 * operands - 1)]
    every = map("".join, itertools.product(*places))
    rest = [text for text in every if text not in seen and split_of(text) == split]
    rng.shuffle(rest)
    yield from rest


def alternate(streams: list[Iterator[T]]) -> Iterator[T]:
    """One element of each stream in turn, until all are exhausted."""
    while streams:
        alive = []
        for stream in streams:
            if (text := next(stream, None)) is not None:
                alive.append(stream)
                yield text
        streams = alive
