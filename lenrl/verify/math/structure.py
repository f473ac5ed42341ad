r"""The shape of an answer: one value, a list, a set, a tuple or interval, an assignment.

Lists and sets compare as sets; tuples, points and intervals keep order and brackets; `a \pm b` is the list of
its two values; `x = 7` is 7 where one symbol stands on the left; every part of a chain `3+4 = 7` must equal
the gold one. What has no structure is compared elsewhere.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lenrl.verify.limits import TooBig
from lenrl.verify.math.normalize import FUNCTIONS
from lenrl.verify.math.numbers import read_number

Compare = Callable[[str, str], bool]  # gold, answer
Kind = Literal["one", "list", "set", "tuple", "chain"]

_SYMBOL = re.compile(
    r"(?:\\(?:angle|triangle|vec|overline|bar|hat) ?)?\{?(?:[A-Za-z]|[A-Z]{2,3}|\\[a-z]+)\}?'*"
    r"(?: ?_ ?(?:[A-Za-z0-9]|\{[A-Za-z0-9, +-]+\}))?(?: ?\((?:[A-Za-z](?: ?, ?[A-Za-z])*)\))?"
)
_SYMBOL_TUPLE = re.compile(r"\( ?[A-Za-z] ?(?:, ?[A-Za-z] ?){1,5}\)")
_NAME = re.compile(r"\\text ?\{[^{}]+\}|[A-Z]?[a-z]{3,}(?: [a-z]+){0,4}")
_EQUALS = re.compile(r"(?<![<>!\\=])=(?!=)")
_MEMBER = re.compile(r"\\in(?![A-Za-z])")
_JOIN = re.compile(
    r"\\text ?\{ ?,? ?(?:and|or) ?,?\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|\\(?:lor|vee|land)(?![A-Za-z])"
)
_OPEN = {"(", "[", "{"}
_CLOSE = {")", "]", "}"}


@dataclass(frozen=True)
class Shape:
    """`items` are tidy texts; `marks`: the brackets of a tuple, the symbol of a chain (or "")."""

    kind: Kind
    items: tuple[str, ...]
    marks: str = ""


def shape(text: str, most: int = 64) -> Shape:
    """Read the outermost structure of a tidy text; raise TooBig beyond `most` elements."""
    text = text.strip()
    if read_number(text) is not None:
        return Shape("one", (text,))
    parts = _split(text, _EQUALS)
    if len(parts) > 1 and not _listed(text):
        left = parts[0].strip()
        return _bounded(Shape("chain", tuple(p.strip() for p in parts[1:]), left) if is_symbol(left)
                        else Shape("chain", tuple(p.strip() for p in parts)), most)  # fmt: skip
    if (member := _MEMBER.search(text)) and is_symbol(text[: member.start()].strip()):
        return Shape("chain", (text[member.end() :].strip(),), text[: member.start()].strip())
    listed = _listed(text)
    if listed:
        return _bounded(Shape("list", listed), most)
    inner = _enclosed(text)
    if inner is not None:
        left, content, right = inner
        items = tuple(p.strip() for p in _split(content, re.compile("[,;]")))
        if left == r"\{":
            items = tuple(x for item in items for x in _plus_minus(item))
            return _bounded(Shape("set", items), most) if content.strip() else Shape("one", (text,))
        if len(items) > 1 and all(items):
            return _bounded(Shape("tuple", items, left + right), most)
    both = _plus_minus(text)
    return Shape("list", both) if len(both) > 1 else Shape("one", (text,))


def is_symbol(text: str) -> bool:
    r"""One name that an answer may be assigned to: `x`, `x_1`, `\theta`, `f(x)`, `(x, y)`, `\text{Area}`."""
    if text.lstrip("\\") in FUNCTIONS and not text.startswith("\\"):
        return False
    return any(p.fullmatch(text) is not None for p in (_SYMBOL, _SYMBOL_TUPLE, _NAME))


def same_shape(gold: str, answer: str, leaf: Compare, most: int = 64, depth: int = 0) -> bool:
    """Two tidy texts are one value: structure first, `leaf` for what has none."""
    if depth > 8:
        raise TooBig("an answer nested deeper than 8 structures")
    g, p = shape(gold, most), shape(answer, most)
    if g.kind == "chain" or p.kind == "chain":
        return _same_chain((gold, g), (answer, p), lambda a, b: same_shape(a, b, leaf, most, depth + 1), leaf)

    def same(a: str, b: str) -> bool:
        return same_shape(a, b, leaf, most, depth + 1)

    if g.kind == "set" and len(g.items) == 1 and p.kind in ("one", "tuple"):
        return same(g.items[0], answer)
    if p.kind == "set" and len(p.items) == 1 and g.kind in ("one", "tuple"):
        return same(gold, p.items[0])
    if {g.kind, p.kind} <= {"list", "set"}:
        return _same_sets(g.items, p.items, same)
    if g.kind == p.kind == "tuple":
        return g.marks == p.marks and len(g.items) == len(p.items) and all(map(same, g.items, p.items))
    if {g.kind, p.kind} == {"tuple", "list"} and "()" in (g.marks, p.marks):
        values, others = (s.items if s.kind == "tuple" else _assigned(s.items, most) for s in (g, p))
        return len(values) == len(others) and all(map(same, values, others))
    if g.kind == p.kind == "one" or "one" in (g.kind, p.kind) and "tuple" in (g.kind, p.kind):
        return leaf(gold, answer)
    return False


def _same_chain(gold: tuple[str, Shape], answer: tuple[str, Shape], same: Compare, leaf: Compare) -> bool:
    (gold_text, g), (answer_text, p) = gold, answer

    def every(target: str, values: tuple[str, ...]) -> bool:
        return all(same(target, value) for value in values)

    if g.kind == "chain" and not g.marks:  # an equation such as x^2 + y^2 = 1: only an equation can equal it
        return p.kind == "chain" and leaf(gold_text, answer_text)
    if g.kind != "chain":
        return every(gold_text, p.items)
    target = g.items[-1]
    if p.kind != "chain":
        return same(target, answer_text)
    if _bare(p.marks) == _bare(g.marks) or p.marks and _NAME.fullmatch(g.marks) is not None:
        return every(target, p.items)
    has_letters = re.search(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", target) is not None
    return has_letters and len(p.items) <= 2 and leaf(gold_text, answer_text)


def _same_sets(gold: tuple[str, ...], answer: tuple[str, ...], same: Compare) -> bool:
    """Every element of either side has an equal one on the other."""
    if len(gold) > 12 and len(gold) != len(answer):
        return False
    left: list[str] = list(answer)
    met: set[str] = set()
    for a in gold:
        equal = (
            [b for b in left if same(a, b)]
            if len(gold) <= 6
            else [b for b in left if b not in met and same(a, b)][:1]
        )
        if not equal:
            return False
        met.update(equal)
    return all(b in met for b in left)


def _assigned(items: tuple[str, ...], most: int) -> tuple[str, ...]:
    """The values of `x=1, y=2` as the point (1, 2), () if these are no letters with a value each."""
    chains = [shape(item, most) for item in items]
    values = {
        chain.marks: chain.items[-1] for chain in chains if chain.kind == "chain" and len(chain.marks) == 1
    }
    return tuple(values[name] for name in sorted(values)) if len(values) == len(items) else ()


def _listed(text: str) -> tuple[str, ...]:
    """The elements of a bare list (commas, semicolons, `and`, `or`), () if the text is none."""
    joined = _JOIN.sub(",", text) if _JOIN.search(text) else text
    parts = [p.strip() for p in _split(joined, re.compile("[,;]"))]
    parts = [p for p in parts if p] if joined is not text else parts
    if len(parts) < 2 or not all(parts):
        return ()
    return tuple(x for part in parts for x in _plus_minus(part))


def _plus_minus(text: str) -> tuple[str, ...]:
    r"""The two values of a text with one `\pm`, else the text."""
    if text.count(r"\pm") != 1 or r"\mp" in text:
        return (text,)
    left, _, right = text.partition(r"\pm")
    return (f"{left}+{right}".strip(" +"), f"{left}-{right}".strip())


def _enclosed(text: str) -> tuple[str, str, str] | None:
    """(left bracket, content, right bracket) if one pair spans the whole text; half-open intervals count."""
    left = r"\{" if text.startswith(r"\{") else text[:1]
    right = r"\}" if text.endswith(r"\}") else text[-1:]
    if left not in ("(", "[", r"\{") or right not in (")", "]", r"\}") or (left == r"\{") != (right == r"\}"):
        return None
    depth = 0
    for i, char in enumerate(text):
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth == 0 and char != "\\" and i < len(text) - 1:
            return None
    return (left, text[len(left) : -len(right)], right) if depth == 0 else None


def _split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Split at separators outside all brackets and environments."""
    if separator.search(text) is None:
        return [text]
    parts, depth, start, i = [], 0, 0, 0
    while i < len(text):
        char = text[i]
        if char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            depth -= 1
        elif text.startswith(r"\begin", i):
            depth += 1
        elif text.startswith(r"\end", i):
            depth -= 1
        elif depth == 0 and (match := separator.match(text, i)):
            parts.append(text[start:i])
            start = i = match.end()
            continue
        i += 1
    return [*parts, text[start:]]


def _bounded(read: Shape, most: int) -> Shape:
    if len(read.items) > most:
        raise TooBig(f"{len(read.items)} elements, at most {most}")
    return read


def _bare(symbol: str) -> str:
    return re.sub(r"[\s{}]", "", symbol)
