"""Algorithms over a list: instances of a length, their answer, and traces of a step an element.

After TAIL (arXiv 2507.13332): a step of the trace `tail` fetches its operands by their index, does one operation and
writes the new state down. Index hints are after "What Algorithms can Transformers Learn?" (arXiv 2310.16028).
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

INDICES = 64  # index tokens <0> to <63>
Trace = Literal["answer", "plain", "hint", "tail"]
Drawn = tuple[tuple[str, ...], str]
"""Elements, and what is asked of them."""


@dataclass(frozen=True)
class Instance:
    """Elements as text, what is asked of them, and the first of their consecutive indices; None: without indices."""

    items: tuple[str, ...]
    query: str = ""
    first: int | None = None

    @property
    def indices(self) -> list[str]:
        if self.first is None:
            return [""] * len(self.items)
        return [f"<{self.first + place}>" for place in range(len(self.items))]


@dataclass(frozen=True)
class Algorithm:
    """One pass over the elements. A step takes (state, element, query) and gives (output, new state), all text."""

    draw: Callable[[int, random.Random], Drawn]
    step: Callable[[str, str, str], tuple[str, str]]
    start: str = ""  # the state before the first element
    result: Callable[[Sequence[str], str], str] = lambda outputs, state: state  # noqa: E731
    hinted: bool = True  # its elements can have indices
    reads: str = "{index}{item}{state}="  # what a step of `tail` reads
    written: str = "()()"  # pattern of what a step writes: output, state after

    def prompt(self, one: Instance) -> str:
        """The problem as text; an element of two digits is one of each of two numbers."""
        columns = zip(*one.items, strict=True) if self.hinted else [one.items]
        rows = ["".join(map("".join, zip(one.indices, column, strict=True))) for column in columns]
        return (f"{one.query}:" if one.query else "") + "+".join(rows) + "?"

    def steps(self, one: Instance) -> list[tuple[str, str, str]]:
        """(state before, output, state after) of each element."""
        state, done = self.start, []
        for item in one.items:
            output, new = self.step(state, item, one.query)
            done.append((state, output, new))
            state = new
        return done

    def instance(self, prompt: str) -> Instance:
        """The instance of a problem's text."""
        query, _, listed = prompt.rstrip("?").rpartition(":")
        if not self.hinted:
            return Instance(tuple(re.findall(r"<\d+>", listed)), query)
        rows = [re.sub(r"<\d+>", "", row) for row in listed.split("+")]
        first = re.search(r"\d+(?=>)", listed)
        return Instance(tuple(map("".join, zip(*rows, strict=True))), query, first and int(first[0]))

    def answer(self, one: Instance) -> str:
        done = self.steps(one)
        return self.result([output for _, output, _ in done], done[-1][2])

    def trace(self, one: Instance, form: Trace) -> str:
        """The steps: `plain` without indices, `hint` with them, `tail` with all that a step reads."""
        text = ""
        for index, item, (state, output, new) in zip(one.indices, one.items, self.steps(one), strict=True):
            text += f"{self.read(form, index, item, state)}{output}{new}" + (";" if form == "tail" else "")
        return "" if form == "answer" else text

    def read(self, form: Trace, index: str, item: str, state: str) -> str:
        """The part of a step before what it writes."""
        return {"hint": index, "tail": self.reads.format(index=index, item=item, state=state)}.get(form, "")

    def steps_of(self, text: str) -> list[str]:
        """Steps of a trace in any form, right or not; what is none between them is one."""
        if ";" in text:
            return text.rstrip(";").split(";")
        step = rf"(?:<\d+>)?{self.written}" if self.hinted else self.written
        return [found[0] for found in re.finditer(rf"{step}|.+?(?={step}|$)", text) if found[0]]

    def result_of(self, one: Instance, text: str) -> str | None:
        """The answer that a trace in any form comes to; None: it is broken, or not at the last element."""
        for form in get_args(Trace)[1:]:
            outputs, state, rest = [], self.start, text
            for index, item in zip(one.indices, one.items, strict=True):
                read = re.escape(self.read(form, index, item, state))
                if found := re.match(read + self.written + (";" if form == "tail" else ""), rest):
                    outputs.append(found[1])
                    state, rest = found[2], rest[found.end() :]
            if not rest and len(outputs) == len(one.items):
                return self.result(outputs, state)
        return None

    def auxiliary(self, one: Instance, rng: random.Random) -> tuple[str, str]:
        """Prompt and answer of the smaller problem of task hinting (arXiv 2310.00726): an element, by its index."""
        place = rng.randrange(len(one.items))
        return self.prompt(one) + one.indices[place], one.items[place]


class Sort(Algorithm):
    """Distinct numbers, themselves index tokens, in ascending order; a step finds the successor of the last one."""

    def steps(self, one: Instance) -> list[tuple[str, str, str]]:
        ordered = sorted(one.items, key=lambda item: int(item[1:-1]))
        return [(last, item, "") for last, item in zip(["", *ordered], ordered, strict=False)]

    def auxiliary(self, one: Instance, rng: random.Random) -> tuple[str, str]:
        """The successor of an element in the list."""
        last, item, _ = rng.choice(self.steps(one)[1:])
        return self.prompt(one) + last, item


def _of(letters: str, asked: str = "") -> Callable[[int, random.Random], Drawn]:
    return lambda n, rng: (tuple(rng.choices(letters, k=n)), rng.choice(asked) if asked else "")


def _one_winner(n: int, rng: random.Random) -> Drawn:
    while True:
        items = tuple(rng.choices("abc", k=n))
        *_, second, most = sorted(map(items.count, "abc"))
        if most > second:
            return items, ""


def _pairs(n: int, rng: random.Random) -> Drawn:
    return tuple(f"{rng.randrange(100):02}" for _ in range(n)), ""


def _added(state: str, item: str, query: str) -> tuple[str, str]:
    carry, digit = divmod(int(item[0]) + int(item[1]) + int(state[1:]), 10)
    return str(digit), f"c{carry}"


def _counted(state: str, item: str, query: str) -> tuple[str, str]:
    counts = zip("abc", _numbers(state), strict=True)
    return "", "".join(f"{letter}{count + (letter == item)}" for letter, count in counts)


def _robbed(state: str, item: str, query: str) -> tuple[str, str]:
    take, skip = _numbers(state)
    return "", f"t{skip + int(item)}s{max(take, skip)}"


def _numbers(state: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d{1,9}", state)]


ALGORITHMS: dict[str, Algorithm] = {
    # the digits as they stand
    "copy": Algorithm(_of("0123456789"), lambda s, x, q: (x, s), "", lambda o, s: "".join(o), written=r"(\d)()"),
    # 1 where the number of ones is odd
    "parity": Algorithm(_of("01"), lambda s, x, q: ("", str(int(s) ^ int(x))), "0", written="()([01])"),
    # the number of one letter among five
    "count": Algorithm(
        _of("abcde", "abcde"), lambda s, x, q: ("", f"c{int(s[1:]) + (x == q)}"), "c0", lambda _, s: s[1:],
        written=r"()(c\d+)",
    ),
    # the most frequent of three letters, of which there is only one
    "mode": Algorithm(
        _one_winner, _counted, "a0b0c0", lambda _, s: "abc"[_numbers(s).index(max(_numbers(s)))],
        written=r"()(a\d+b\d+c\d+)",
    ),
    # of two numbers of n digits, the last digits first
    "addition": Algorithm(_pairs, _added, "c0", lambda o, s: "".join(o) + s[1:], written=r"(\d)(c[01])"),
    # the largest sum of digits of which no two are neighbours; t and s: the best with and without the last one
    "robber": Algorithm(_of("0123"), _robbed, "t0s0", lambda _, s: str(max(_numbers(s))), written=r"()(t\d+s\d+)"),
    "sort": Sort(
        lambda n, rng: (tuple(f"<{x}>" for x in rng.sample(range(INDICES), n)), ""), lambda s, x, q: (x, s),
        "", lambda o, s: "".join(o), hinted=False, reads="{state}>", written=r"((<\d+>))",
    ),
}  # fmt: skip
