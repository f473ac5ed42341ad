"""Kinds of answers, one class a kind: what it needs, what text alone decides, what a worker decides.

Standard library only on the outside: a worker imports this module, and loads a kind's parsers when it is set up.
"""

import abc
import re
import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from lenrl.verify.limits import Limits, TooBig, Unreadable

Outcome = Literal["ok", "timeout", "memory", "limit", "error", "abstained"]
Result = tuple[
    Any, bool, Outcome
]  # correct (True, False, None; of a plug-in its judgement), formatted, outcome

SENTENCE = 4  # words, a full stop counted too, from which on a gold answer of mathematics is no value
_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]{2,}")
_NO_WORD = re.compile(r"\\(?:begin|end)\{\w+\*?\}|\\[A-Za-z]+|<<[^>]*>>")  # LaTeX's own
_CONNECTIVES = ("and", "or", "if", "otherwise", "for", "where")
NO_GOLD = "0"  # in place of a gold answer that is not there: the format is judged all the same


class Kind(abc.ABC):
    """A kind of answers. What compares texts of a model runs in a worker, which is killed if it takes too long."""

    package: ClassVar[str | None] = None  # that it needs
    installed_by: ClassVar[str] = ""  # pip install ...
    in_worker: bool = True  # False: comparing costs next to nothing, the caller's process does it
    chunk: int = 0  # claims a task of a worker; 0: as many as spread well

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def item(self, text: str, answer: str | None, gold: str | None, columns: Mapping[str, Any]) -> Any:
        """The part of a claim that is judged, hashable: `(answer, gold)`, of a plug-in more behind them."""
        return answer, gold if gold and gold.strip() else NO_GOLD

    def by_text(self, answer: str | None, gold: str) -> Result | None:
        """The result where no worker is needed, else None. Called in the caller's process."""
        return None

    def warm_up(self) -> None:  # noqa: B027
        """Import and exercise what judging needs, before the memory limit and outside any claim's time."""

    @abc.abstractmethod
    def compare(self, answer: str, gold: str) -> tuple[bool | None, bool]:
        """(correct, formatted); correct is None where nobody can say. Raises TooBig for the answer."""

    @abc.abstractmethod
    def readable(self, gold: str) -> bool:
        """A gold answer parses within the limits and equals itself."""

    def plain(self, gold: str) -> bool:
        """A gold answer is readable, as text alone shows; called in the caller's process."""
        return False

    def same_text(self, answer: str, gold: str) -> bool:
        """An answer equals a gold answer that is not readable."""
        return False

    def seconds(self, timeout_s: float, count: int) -> float:
        """Seconds by the clock after which a worker that has so many claims in hand is killed."""
        return 2 * timeout_s + 1

    def drop_caches(self) -> None:  # noqa: B027
        """Let go of what a claim beyond its limits left behind."""

    def too_long(self, text: str | None) -> bool:
        return text is not None and len(text) > self.limits.max_answer_chars


class Math(Kind):
    """Mathematics: numbers, expressions, sets, intervals, relations, units, words."""

    package, installed_by = "math_verify", "math-verify[antlr4_9_3]"

    def by_text(self, answer: str | None, gold: str) -> Result | None:
        from lenrl.verify.math.quick import quick

        try:
            decided = quick(answer or "0", gold, self.limits)
        except TooBig:
            return (True, True, "ok") if answer == gold else (False, False, "limit")
        except Unreadable:
            return (None, False, "abstained") if self.too_long(answer) or self.too_long(gold) else None
        if decided is None:
            return None
        return (False, False, "ok") if answer is None else (*decided, "ok")

    def warm_up(self) -> None:
        from lenrl.verify.math.compare import compare

        for answer, gold in (
            (r"\sqrt{3}/2", r"\frac{\sqrt{3}}{2}"),
            ("(x+1)^2", "x^2+2x+1"),
            (r"3 \ge x", r"x \le 3"),
            (r"\begin{pmatrix}1\\3\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
            ("(1,2]", r"(-\infty, 2] \cup (3,4)"),
        ):
            compare(answer, gold, Limits())

    def compare(self, answer: str, gold: str) -> tuple[bool | None, bool]:
        from lenrl.verify.math.compare import compare

        return compare(answer, gold, self.limits)

    def readable(self, gold: str) -> bool:
        """Besides, it is no sentence, with which only the same sentence would agree: `The answer is 7.`"""
        from lenrl.verify.math.compare import readable

        return not _sentence(gold) and readable(gold, self.limits)

    def plain(self, gold: str) -> bool:
        from lenrl.verify.math.quick import plain

        return plain(gold, self.limits) and not _sentence(gold)

    def same_text(self, answer: str, gold: str) -> bool:
        from lenrl.verify.math.normalize import key

        return not self.too_long(answer) and key(answer) == key(gold)

    def drop_caches(self) -> None:
        if "sympy" in sys.modules:
            from sympy.core.cache import clear_cache

            from lenrl.verify.math.algebra import parse

            parse.cache_clear()
            clear_cache()


def _sentence(gold: str) -> bool:
    words = [word for word in _WORD.findall(_NO_WORD.sub(" ", gold)) if word.lower() not in _CONNECTIVES]
    return len(words) + gold.rstrip("} $").endswith(".") >= SENTENCE


class Exact(Kind):
    """Text in one spelling: spaces and LaTeX's wrappers apart, every character counts."""

    in_worker = False

    def by_text(self, answer: str | None, gold: str) -> Result | None:
        if answer is None or self.too_long(answer):
            return False, answer is not None, "ok" if answer is None else "limit"
        return *self.compare(answer, gold), "ok"

    def compare(self, answer: str, gold: str) -> tuple[bool | None, bool]:
        from lenrl.verify.math.normalize import key

        return key(answer) == key(gold), True

    def readable(self, gold: str) -> bool:
        from lenrl.verify.math.normalize import key

        return bool(key(gold))


class Gym(Kind):
    """Answers to reasoning-gym's problems, judged by their generator's own scorer."""

    package, installed_by = "reasoning_gym", "lenrl[gym]"

    def by_text(self, answer: str | None, gold: str) -> Result | None:
        if gold == NO_GOLD:  # no entry of a generator
            return None, answer is not None, "abstained"
        return (False, False, "limit") if self.too_long(answer) else None

    def warm_up(self) -> None:
        import reasoning_gym  # noqa: F401  # pyright: ignore[reportMissingImports]

    def compare(self, answer: str, gold: str) -> tuple[bool | None, bool]:
        from lenrl.verify.gym_scorer import score

        return score(answer, gold)

    def readable(self, gold: str) -> bool:
        from lenrl.verify.gym_scorer import known

        return known(gold)


KINDS: dict[str, type[Kind]] = {"math": Math, "exact": Exact, "gym": Gym}
