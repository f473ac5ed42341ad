"""Structure of a thinking: what is said again, and which steps led nowhere.

After "What Characterizes Effective Reasoning?" (arXiv 2509.19284), whose judges label chunks and draw a graph. The cue
words are ours.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import Array, table

CUE_CHARS = 60  # at the beginning of a paragraph
REVIEW = re.compile(
    r"\b(wait|hmm+|let me (re-?check|check|double-check|verify|re-?examine)|checking|going back|as before|to confirm"
    r"|earlier (i|we)|is that right)\b",
    re.IGNORECASE,
)
SWITCH = re.compile(
    r"\b(alternatively|another (approach|way)|let me try|instead|start over|scratch that)\b", re.IGNORECASE
)
MOST_CHARS = 200_000  # of a judge's reply
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)(?:"|\\?\Z)', re.DOTALL)  # to the end where none closes: linear
_NODE = re.compile(r"(?:^|(?<=[];{}\n]))[^\S\n]*(\w{1,64})[^\S\n]*\[([^\[\]]{0,2000})\]")
_FILL = re.compile(r"fillcolor\s*=\s*light(pink|blue)\b")
_REVIEW_LINE = re.compile(r"^[^\S\n]*review[^\S\n]*:([^\n]{0,20000})$", re.IGNORECASE | re.MULTILINE)
NO_STEPS = {"problem", "answer", "node", "edge", "graph"}  # names in a judge's graph


@dataclass(frozen=True)
class Structure:
    """Figures of one thinking; None where nobody has read it for that."""

    think_chars: int
    steps: int
    failed: float | None = None  # share of its steps (FSF)
    review: float | None = None  # share of its characters
    switches: int | None = None  # paragraphs that begin another attempt
    chars_by: tuple[int, ...] = ()  # characters of the first attempt, of those that repeat it, of failed ones


def paragraphs(thinking: str) -> list[str]:
    """Blocks between blank lines, or the lines where there are none."""
    groups = groupby(thinking.split("\n"), lambda line: bool(line.strip()))
    blocks = [list(some) for filled, some in groups if filled]
    return ["\n".join(some) for some in blocks] if len(blocks) > 1 else sum(blocks, [])


def by_cues(thinking: str) -> Structure:
    """Paragraphs whose beginning looks back, and those that begin another attempt, by words."""
    parts = paragraphs(thinking)
    switches = sum(bool(SWITCH.search(part[:CUE_CHARS])) for part in parts)
    back = {n for n, part in enumerate(parts, 1) if REVIEW.search(part[:CUE_CHARS])}
    return Structure(len(thinking), len(parts), review=_share(parts, back), switches=switches)


def by_attempts(thinking: str, attempts: Sequence[tuple[Sequence[str], bool]]) -> Structure:
    """Attempts in order, each with its steps and whether it failed; later ones review. No steps have no shares."""
    attempts = [(steps, failed) for steps, failed in attempts if any(steps)]
    counts = [len(steps) for steps, _ in attempts]
    if not counts:
        return Structure(len(thinking), 0)
    chars_by = [0, 0, 0]
    chars = [sum(map(len, steps)) for steps, _ in attempts]
    for number, (_, failed) in enumerate(attempts):
        chars_by[2 if failed else min(number, 1)] += chars[number]
    failed = sum(n for n, (_, failed) in zip(counts, attempts, strict=True) if failed) / sum(counts)
    review = 1 - chars[0] / sum(chars)
    return Structure(len(thinking), sum(counts), failed, review, chars_by=tuple(chars_by))


def by_graph(thinking: str, reply: str) -> Structure | None:
    r"""Figures from a judge's reply: a line `review: 2, 5` of paragraphs, and a graph in Graphviz's language.

    Failed steps are nodes with `fillcolor=lightpink`, others `lightblue`; nodes without either do not count. None: the
    graph has no step. Nothing in it is run or drawn, and quoted text counts for nothing.

    >>> reply = 'review: 2 \n a [fillcolor="lightpink"]; b [fillcolor=lightblue, label="c [fillcolor=lightpink]"]'
    >>> found = by_graph("1 \n\n 2", reply)
    >>> found.steps, found.failed, found.review
    (2, 0.5, 0.5)
    """
    reply, names = reply[:MOST_CHARS], dict[str, str]()  # a word for each quoted text that is none
    graph = _QUOTED.sub(lambda q: q[1] if q[1].isalnum() else names.setdefault(q[1], f"_{len(names)}"), reply)
    nodes = {node: fill[1] for node, rest in _NODE.findall(graph) for fill in [_FILL.search(rest)] if fill}
    fills = [fill for node, fill in nodes.items() if node.lower() not in NO_STEPS]
    if not fills:
        return None
    line = _REVIEW_LINE.search(reply)
    numbers = set(map(int, re.findall(r"[0-9]{1,6}", line[1]))) if line else None
    review = None if numbers is None else _share(paragraphs(thinking), numbers)
    return Structure(len(thinking), len(fills), fills.count("pink") / len(fills), review)


def chosen_by(correct_PS: ArrayLike, values_PS: ArrayLike) -> Array:
    """(prompts with any, 1): the mean verdict of each prompt's completions with the smallest value.

    >>> chosen_by([[1, 0, 1], [0, 0, 1]], [[5, 2, 2], [9, 8, 7]]).tolist()
    [[0.5], [1.0]]
    """
    correct, values = table(correct_PS), table(values_PS)
    values = np.where(np.isnan(correct + values), np.inf, values)
    least_PS = (values == values.min(axis=1, keepdims=True)) & np.isfinite(values)
    kept = least_PS.any(axis=1)
    rows = zip(correct[kept], least_PS[kept], strict=True)
    return np.array([row[least].mean() for row, least in rows]).reshape(-1, 1)


def _share(parts: Sequence[str], numbers: set[int]) -> float | None:
    """Share of the characters that paragraphs with these numbers have; None without any."""
    taken = sum(len(part) for number, part in enumerate(parts, 1) if number in numbers)
    return taken / sum(map(len, parts)) if parts else None
