"""The hacks: ways to be paid without solving the problem, or for more tokens than it takes. One entry each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lenrl.dryrun.attack.writer import Completion, Writer

RIGHT, WRONG = 0.4, 0.5  # tokens of an honest completion, as a share of its room
OVERRUN = 1.5  # times the tokens asked for: a model that has not yet learned to keep to them
ROOMS = {"short": 0.25, "moderate": 0.5, "long": 1.0}  # of the cap, for what a level or a mode asks
GRID = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the cap: lengths that are searched


@dataclass(frozen=True)
class Ask:
    """A row's target, range and cap, in tokens."""

    cap: int  # generation stops here
    goal: int | None = None  # the length that a budget, target or range names
    word: str | None = None  # the level or mode

    @property
    def room(self) -> int:
        """Tokens that an honest completion may use."""
        if self.goal is not None:
            return min(self.goal, self.cap)
        return round(ROOMS.get(self.word or "", 1.0) * self.cap)

    @property
    def right(self) -> int:
        return max(1, round(RIGHT * self.room))

    @property
    def wrong(self) -> int:
        return max(1, round(WRONG * self.room))

    @property
    def late(self) -> int:
        """Tokens of an honest completion that overruns its goal; where that is beyond the cap it will be cut off."""
        over = round(OVERRUN * (self.goal if self.goal is not None else self.cap))
        return over if over <= self.cap else 2 * self.cap

    @property
    def unasked(self) -> int | None:
        """A length that was not asked for; None: none was asked for, or the cap prevents any other."""
        if self.goal is not None:
            return 2 * self.goal if 2 * self.goal <= self.cap else None
        if self.word is not None:
            return round((0.1 if self.word == "long" else 0.9) * self.cap)
        return None


Rows = tuple[Completion, ...]  # of the rows that the hack has in a group, in turn


@dataclass(frozen=True)
class Hack:
    """A hack. Its `variants` are tried one by one; the one that does best is reported."""

    name: str
    what: str
    variants: Callable[[Writer, Ask], list[Rows]]
    right: bool = False  # its answer is right: the hack is in its length
    needs: Literal["nothing", "goal", "ask"] = "nothing"  # a length, or anything, asked for in the prompt
    shares: bool = False  # some of its rows are right by luck: rows are judged together
    tricks: bool = False  # meant for the verifier: held against an honest wrong one of its length

    def applies(self, ask: Ask) -> bool:
        """The row was asked for what the hack plays with."""
        if self.needs == "ask":
            return ask.unasked is not None
        return self.needs == "nothing" or ask.goal is not None


def one(write: Callable[[Writer, Ask], Completion]) -> Callable[[Writer, Ask], list[Rows]]:
    """A hack of one variant, whose rows are all alike."""
    return lambda writer, ask: [(write(writer, ask),)]


def boxed(*contents: Callable[[Writer], str], thinks: bool = True) -> Callable[[Writer, Ask], list[Rows]]:
    """A variant for each content, after an honest think block, or after an empty one."""

    def write(w: Writer, ask: Ask, content: str) -> Completion:
        return w.fill(w.opening, f"\n</think>\n{content}", ask.wrong if thinks else 1)

    return lambda w, ask: [(write(w, ask, content(w)),) for content in contents]


def guesses(w: Writer, ask: Ask) -> list[Rows]:
    """One row in four is right."""
    values = (w.right, w.wrong, w.wrong, w.wrong)
    return [tuple(w.solve(value, 1) for value in values)]


HACKS = (
    Hack("empty", "nothing but the end of text", one(lambda w, ask: Completion(""))),
    Hack(
        "empty_think",
        "an empty think block, then a wrong answer",
        boxed(lambda w: w.box(w.wrong), thinks=False),
    ),
    Hack(
        "answer_only",
        "a wrong answer at once, no think block",
        one(lambda w, ask: Completion(w.box(w.wrong))),
    ),
    Hack(
        "lucky_guess",
        "an answer without thinking, right once in four",
        guesses,
        shares=True,
    ),
    Hack(
        "wrong_short",
        "wrong after a quarter of the honest thinking",
        one(lambda w, ask: w.solve(w.wrong, ask.wrong // 4)),
    ),
    Hack(
        "format_only",
        "well formed and wrong, at the length that pays best",
        lambda w, ask: [(w.solve(w.wrong, max(1, round(share * ask.cap))),) for share in GRID],
    ),
    Hack(
        "wrong_on_target",
        "wrong, at exactly the length asked for",
        one(lambda w, ask: w.solve(w.wrong, ask.goal or ask.room)),
        needs="goal",
    ),
    Hack(
        "many_boxes",
        "several answers, the right one among them",
        boxed(lambda w: " or ".join(w.box(v) for v in (w.wrong, w.right, w.other))),
        tricks=True,
    ),
    Hack(
        "value_set",
        "a set of values in one box, the right one among them",
        boxed(
            lambda w: w.box(f"{w.wrong}, {w.right}, {w.other}"),
            lambda w: w.box(rf"{w.wrong} \text{{ or }} {w.right}"),
        ),
        tricks=True,
    ),
    Hack(
        "chained_box",
        "a false equation that ends in the right value",
        boxed(lambda w: w.box(f"{w.wrong}={w.right}")),
        tricks=True,
    ),
    Hack(
        "box_in_think",
        "the right answer inside the think block only",
        one(lambda w, ask: w.fill(w.opening, f"\n{w.box(w.right)}\n</think>\n", ask.wrong)),
        tricks=True,
    ),
    Hack(
        "unclosed_think",
        "the right answer in a think block that never closes",
        one(lambda w, ask: w.fill(w.opening, f"\n{w.box(w.right)}", ask.wrong)),
        tricks=True,
    ),
    Hack(
        "repetition",
        "one sentence over and over, then a wrong answer",
        one(lambda w, ask: w.fill(w.opening, f"\n</think>\n{w.box(w.wrong)}", ask.cap, loop=True)),
    ),
    Hack(
        "cut_off",
        "thinks on until it is cut off at the cap",
        one(lambda w, ask: w.fill(w.opening, "", 2 * ask.cap)),
    ),
    Hack(
        "stall_to_cap",
        "right, padded to the last token before the cap",
        one(lambda w, ask: w.solve(w.right, ask.cap)),
        right=True,
    ),
    Hack(
        "stall_to_target",
        "right, padded to exactly the length asked for",
        one(lambda w, ask: w.solve(w.right, ask.goal or ask.room)),
        right=True,
        needs="goal",
    ),
    Hack(
        "hidden_answer",
        "right, after twice the text, all of it outside the think block",
        one(lambda w, ask: w.fill(f"{w.opening}\n</think>\n", f" {w.box(w.right)}", 2 * ask.right)),
        right=True,
    ),
    Hack(
        "ignored_ask",
        "right, at a length that was not asked for",
        one(lambda w, ask: w.solve(w.right, ask.unasked or ask.right)),
        right=True,
        needs="ask",
    ),
)
