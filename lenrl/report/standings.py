"""The best run under a decoding, by how much, and which others can't be told apart from it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lenrl import measures
from lenrl.measures import Answers, Comparison, Ranking
from lenrl.measures.format import change, estimate, points, share, tokens
from lenrl.report import names
from lenrl.report.entries import Entry


@dataclass(frozen=True)
class Contender:
    """A run, or runs that differ in their seeds alone, whose samples are taken together."""

    name: str
    entries: tuple[Entry, ...]
    answers: Answers  # the tellings of a problem together
    base: Answers | None  # of the models that they began with


@dataclass(frozen=True)
class Card:
    """An answer of the page: who, with which figure, and how sure that is."""

    label: str
    name: str
    figure: str
    note: str
    certain: bool | None  # None: there is nothing to be certain of


class Standing:
    """The contenders under one decoding, on the same problems."""

    def __init__(self, decoding: str, contenders: Sequence[Contender], ranking: Ranking) -> None:
        self.decoding = decoding
        self.contenders = list(contenders)
        self.ranking = ranking
        self.names = [contender.name for contender in contenders]
        self.seeds = any(len(contender.entries) > 1 for contender in contenders)

    def mark(self, entry: Entry) -> str:
        """`best`, `tied` with it, or nothing."""
        for number, contender in enumerate(self.contenders):
            if any(entry is one for one in contender.entries):
                return (
                    "best" if number == self.ranking.best else "tied" if number in self.ranking.tied else ""
                )
        return ""

    @cached_property
    def cards(self) -> list[Card]:
        """The most accurate, the shortest of those that are not told apart from it, the best at equal tokens."""
        return [self._accurate(), *self._short(), *self._within()]

    def _accurate(self) -> Card:
        best = self.contenders[self.ranking.best]
        accuracy = measures.accuracy(best.answers.correct_PS)
        note = f"{tokens(_tokens(best))} tokens; {measures.certainty(self.ranking, self.names, points)}."
        figure = estimate(accuracy, share)
        return Card("most accurate", best.name, figure, note + _gain(best), not self.ranking.tied)

    def _short(self) -> list[Card]:
        """The shortest, where several are as accurate as one can tell."""
        if not self.ranking.tied:
            return []
        best = self.contenders[self.ranking.best]
        alike = [self.contenders[number] for number in (self.ranking.best, *self.ranking.tied)]
        chosen = min(alike, key=_tokens)
        label = "shortest of these"
        figure = f"{estimate(measures.mean_tokens(chosen.answers.tokens_PS), tokens)} tokens"
        if chosen is best:
            return [Card(label, chosen.name, figure, "The most accurate is the shortest as well.", None)]
        pair = _compared(best.answers, chosen.answers)
        ratio = pair.tokens_ratio
        fewer = f"{estimate(ratio, change)} tokens against the most accurate"
        return [Card(label, chosen.name, figure, f"{fewer}.{_gain(chosen)}", ratio.high < 1)]

    def _within(self) -> list[Card]:
        """At equal tokens: within the median of the contenders' mean lengths."""
        budget = round(statistics.median(map(_tokens, self.contenders)))
        right = [
            measures.right_within(a.correct_PS, a.tokens_PS, a.truncated_PS, budget)
            for a in (contender.answers for contender in self.contenders)
        ]
        ranking = measures.rank(right, [_tokens(contender) for contender in self.contenders])
        if ranking is None:
            return []
        note = measures.certainty(ranking, self.names, points)
        figure = estimate(measures.accuracy(right[ranking.best]), share)
        label = f"right most often within {budget} tokens"
        name = self.names[ranking.best]
        return [Card(label, name, figure, f"{note[0].upper()}{note[1:]}.", not ranking.tied)]


def standings(pairs: Sequence[tuple[Entry, Entry | None]]) -> tuple[list[Standing], list[str]]:
    """A standing for each decoding under which two contenders or more have answered the same problems.

    Args:
        pairs: each model that may win, and its own base.

    Returns:
        The standings, and a sentence for each decoding of which some can't be ranked.
    """
    found: list[Standing] = []
    said: list[str] = []
    for decoding in dict.fromkeys(entry.decoding for entry, _ in pairs):
        same = [pair for pair in pairs if pair[0].decoding == decoding]
        first = next((entry.answers for entry, _ in same if entry.answers), None)
        if first is None:
            continue
        alike = [(e, base) for e, base in same if e.answers and e.answers.in_order_of(first)]
        out = [entry.name for entry, _ in same if not any(entry is one for one, _ in alike)]
        if out:
            said.append(f"{', '.join(out)} ({decoding}) can't be ranked: other problems, or no completions")
        contenders = _contenders(alike, first)
        ranking = measures.rank([c.answers.correct_PS for c in contenders], [_tokens(c) for c in contenders])
        if ranking is not None and len(contenders) > 1:
            found.append(Standing(decoding, contenders, ranking))
    return found, said


def _contenders(pairs: Sequence[tuple[Entry, Entry | None]], first: Answers) -> list[Contender]:
    """The runs, those that differ in their seeds alone as one."""
    groups: dict[tuple[str, int], list[tuple[Entry, Entry | None]]] = {}
    seen: dict[tuple[str, str], int] = {}
    for entry, base in pairs:
        shared = {key: value for key, value in entry.settings.items() if key != "seed"}
        same = json.dumps(shared, default=str, sort_keys=True) if shared else f"{id(entry)}"
        seed = (same, str(entry.settings.get("seed")))
        seen[seed] = seen.get(seed, 0) + 1  # a run that was measured twice stands twice
        groups.setdefault((same, seen[seed]), []).append((entry, base))
    members = list(groups.values())
    called = names.told_apart([_place(group) for group in members])
    made = []
    for group in members:
        entries = tuple(entry for entry, _ in group)
        if len(group) == 1:
            name = entries[0].name
        elif "seed" in entries[0].swept:
            name = f"{called[_place(group)]}, {len(group)} seeds"
        else:
            more = f" + {len(group) - 2} more" if len(group) > 2 else ""
            name = f"{entries[0].name} + {entries[1].name}{more}, {len(group)} seeds"
        own = _together(entries, first)
        assert own is not None  # they have the first one's problems
        made.append(Contender(name, entries, own, _together([base for _, base in group], first)))
    return made


def _place(group: Sequence[tuple[Entry, Entry | None]]) -> names.Place:
    """The place of runs of several seeds, without the seed."""
    place = group[0][0].place
    if len(group) == 1 or "seed" not in group[0][0].swept:
        return place
    words = [word for word in place[-1].split() if not word.startswith("seed=")]
    return (*place[:-1], " ".join(words)) if words else place[:-1]


def _together(several: Sequence[Entry | None], first: Answers) -> Answers | None:
    """All samples of each problem, in the first one's order; None: one has no answers, or to other prompts."""
    own = [e.answers.in_order_of(first) if e and e.answers else None for e in several]
    known = [answers for answers in own if answers]
    return Answers.together(known).by_base if len(known) == len(own) else None


def _tokens(contender: Contender) -> float:
    return float(contender.answers.tokens_PS.mean())


def _compared(base: Answers, own: Answers) -> Comparison:
    return measures.compare(base.correct_PS, base.tokens_PS, own.correct_PS, own.tokens_PS)


def _gain(contender: Contender) -> str:
    """The change by training, in a sentence."""
    if contender.base is None:
        return ""
    pair = _compared(contender.base, contender.answers)
    accuracy = f"{estimate(pair.accuracy_diff, points)} points, " if pair.accuracy_diff else ""
    return f" Against its base: {accuracy}{estimate(pair.tokens_ratio, change)} tokens."
