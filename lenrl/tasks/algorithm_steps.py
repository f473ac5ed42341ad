"""Algorithms over a list: instances of a length, their answer, and traces of their steps, mostly one an element.

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
    """Steps, here one an element. A step takes (state, element, query) and gives (output, new state), all text."""

    draw: Callable[[int, random.Random], Drawn]
    step: Callable[[str, str, str], tuple[str, str]]
    start: str = ""  # the state before the first step; {last}: the place of the last element
    result: Callable[[Sequence[str], str], str] = lambda outputs, state: state  # noqa: E731
    hinted: bool = True  # its elements can have indices
    reads: str = "{index}{item}{state}="  # what a step of `tail` reads; {place}: of the element
    written: str = "()()"  # pattern of what a step writes: output, state after

    def prompt(self, one: Instance) -> str:
        """The problem as text; an element of two digits is one of each of two numbers."""
        columns = zip(*one.items, strict=True) if self.hinted else [one.items]
        rows = ["".join(map("".join, zip(one.indices, column, strict=True))) for column in columns]
        return (f"{one.query}:" if one.query else "") + "+".join(rows) + "?"

    def place(self, one: Instance, state: str, done: int) -> int | None:
        """The place of the element that a step reads, after so many others; None: there is no further step."""
        return done if done < len(one.items) else None

    def steps(self, one: Instance) -> list[tuple[str, str, str]]:
        """(state before, output, state after) of each step."""
        state, done = self.first_state(one), []
        while (place := self.place(one, state, len(done))) is not None:
            output, new = self.step(state, one.items[place], one.query)
            done.append((state, output, new))
            state = new
        return done

    def first_state(self, one: Instance) -> str:
        """The state before the first step."""
        return self.start.format(last=len(one.items) - 1)

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
        for done, (state, output, new) in enumerate(self.steps(one)):
            read = self.read(form, one, self.place(one, state, done) or 0, state)
            text += f"{read}{output}{new}" + (";" if form == "tail" else "")
        return "" if form == "answer" else text

    def read(self, form: Trace, one: Instance, place: int, state: str) -> str:
        """The part of a step before what it writes."""
        index, item = one.indices[place], one.items[place]
        tail = self.reads.format(index=index, item=item, place=place, state=state)
        return {"hint": index, "tail": tail}.get(form, "")

    def steps_of(self, text: str) -> list[str]:
        """Steps of a trace in any form, right or not; what is none between them is one."""
        if ";" in text:
            return [step for step in text.split(";") if step]
        step = rf"(?:<\d+>)?{self.written}" if self.hinted else self.written
        return [found[0] for found in re.finditer(rf"{step}|.+?(?={step}|$)", text) if found[0]]

    def result_of(self, one: Instance, text: str) -> str | None:
        """The answer that a trace in any form comes to; None: it is broken, or not at its last step."""
        for form in get_args(Trace)[1:]:
            outputs, state, rest = [], self.first_state(one), text
            while (place := self.place(one, state, len(outputs))) is not None and place < len(one.items):
                read = re.escape(self.read(form, one, place, state))
                found = re.match(read + self.written + (";" if form == "tail" else ""), rest)
                if found is None:
                    break
                outputs.append(found[1])
                state, rest = found[2], rest[found.end() :]
            if not rest and place is None:
                return self.result(outputs, state)
        return None

    def auxiliary(self, one: Instance, rng: random.Random) -> tuple[str, str]:
        """Prompt and answer of the smaller problem of task hinting (arXiv 2310.00726): an element, by its index."""
        place = rng.randrange(len(one.items))
        return f"{self.prompt(one)}{one.indices[place] or place}", one.items[place]


class Sort(Algorithm):
    """Distinct numbers, themselves index tokens, in ascending order; a step finds the successor of the last one."""

    def steps(self, one: Instance) -> list[tuple[str, str, str]]:
        ordered = sorted(one.items, key=lambda item: int(item[1:-1]))
        return [(last, item, "") for last, item in zip(["", *ordered], ordered, strict=False)]

    def auxiliary(self, one: Instance, rng: random.Random) -> tuple[str, str]:
        """The successor of an element in the list."""
        last, item, _ = rng.choice(self.steps(one)[1:])
        return self.prompt(one) + last, item


class Search(Algorithm):
    """Ascending numbers, themselves index tokens; a step compares the middle one of those left, and halves these."""

    def place(self, one: Instance, state: str, done: int) -> int | None:
        """See `Algorithm`: the middle between two places; one place, or none, is the answer."""
        ends = _numbers(state)
        return sum(ends) // 2 if len(ends) == 2 else None


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


def _wanted(n: int, rng: random.Random) -> Drawn:
    """Numbers, and one that is among them three times in four."""
    *drawn, other = rng.sample(range(INDICES), n + 1)
    wanted = other if rng.random() < 0.25 else rng.choice(drawn)
    return tuple(f"<{x}>" for x in sorted(drawn)), f"<{wanted}>"


def _added(state: str, item: str, query: str) -> tuple[str, str]:
    carry, digit = divmod(int(item[0]) + int(item[1]) + int(state[1:]), 10)
    return str(digit), f"c{carry}"


def _counted(state: str, item: str, query: str) -> tuple[str, str]:
    counts = zip("abc", _numbers(state), strict=True)
    return "", "".join(f"{letter}{count + (letter == item)}" for letter, count in counts)


def _robbed(state: str, item: str, query: str) -> tuple[str, str]:
    take, skip = _numbers(state)
    return "", f"t{skip + int(item)}s{max(take, skip)}"


def _halved(state: str, item: str, query: str) -> tuple[str, str]:
    low, high = _numbers(state)
    middle, found, wanted = (low + high) // 2, int(item[1:-1]), int(query[1:-1])
    if found == wanted:
        return "=", str(middle)
    low, high = (middle + 1, high) if found < wanted else (low, middle - 1)
    return "<" if found < wanted else ">", f"{low},{high}" if low <= high else "none"


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
        written=r"()(c\d\d?)",
    ),
    # the most frequent of three letters, of which there is only one
    "mode": Algorithm(
        _one_winner, _counted, "a0b0c0", lambda _, s: "abc"[_numbers(s).index(max(_numbers(s)))],
        written=r"()(a\d\d?b\d\d?c\d\d?)",
    ),
    # of two numbers of n digits, the last digits first
    "addition": Algorithm(_pairs, _added, "c0", lambda o, s: "".join(o) + s[1:], written=r"(\d)(c[01])"),
    # the largest sum of digits of which no two are neighbours; t and s: the best with and without the last one
    "robber": Algorithm(_of("0123"), _robbed, "t0s0", lambda _, s: str(max(_numbers(s))), written=r"()(t\d\d?s\d\d?)"),
    "sort": Sort(
        lambda n, rng: (tuple(f"<{x}>" for x in rng.sample(range(INDICES), n)), ""), lambda s, x, q: (x, s),
        "", lambda o, s: "".join(o), hinted=False, reads="{state}>", written=r"((<\d+>))",
    ),
    # the place of a number among ascending ones, from 0, or none
    "search": Search(
        _wanted, _halved, "0,{last}", hinted=False, reads="{state},{place}:{item}",
        written=r"([<=>])(\d\d?,\d\d?|\d\d?|none)",
    ),
}  # fmt: skip
