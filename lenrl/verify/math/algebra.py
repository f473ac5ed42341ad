"""Comparing mathematics with sympy and math-verify. Workers only; text is parsed as LaTeX, never evaluated.

math-verify's own extraction is not used: it reads the first number of `1+1/e`, and so calls it equal to
`1-1/e`. Its grammar parses, what has a value is compared by value, and its grader decides the rest.
"""

import logging
import re
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended import NormalizationConfig, latex2sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig
from math_verify.grader import verify

from lenrl.verify.limits import TooBig, Unreadable
from lenrl.verify.math.magnitude import check_size
from lenrl.verify.math.values import by_value, same_relation

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that it has no timeout: the worker has

_FORM = NormalizationConfig(basic_latex=True, malformed_operators=True, boxed="none")
_ALLOWED = re.compile(r"[A-Za-z0-9\s+\-*/^_=<>!.,:;|'%&()\[\]{}\\]*")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_SYMBOL = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
# Commands with a size of their own (a matrix from a number, an eigenvalue problem) or that no answer needs.
_REFUSED = frozenset("input include def newcommand let write csname catcode loop xrightarrow".split())  # noqa: SIM905
_OPERATORS = frozenset("lcm gcd arsinh arcosh artanh arcsinh arccosh arctanh sgn rank tr".split())  # noqa: SIM905
_OPERATOR = re.compile(r"\\operatorname\s*\{\s*([A-Za-z]*)\s*\}")
# `0 7` or `2 3`: two values, which the parser would multiply, or read one of them; not `1 000`, `1 1/2`, `\frac 1 2`.
_TWO_NUMBERS = re.compile(
    r"(?<![\d.,_^])(?<!frac )(?<!frac)(?<!binom )(?<!binom)(?!\d{1,3}(?: \d{3})+(?![\d ]))"
    r"\d+(?:\.\d+)? +\d+(?! ?/ ?\d)"
)
_DEGREES = re.compile(
    r"(\\(?:sin|cos|tan|cot|sec|csc) ?(?:\^ ?\{?\d\}?)?) ?[({]? ?(\d+(?:\.\d+)?) ?\^ ?\{? ?\\circ ?\}? ?[)}]?"
)


@lru_cache(maxsize=2048)
def parse(tidied: str, max_value_digits: int) -> Any:
    """The sympy object of a tidy text. Raises Unreadable or TooBig; evaluates nothing."""
    text = _as_latex(tidied)
    if _ALLOWED.fullmatch(text) is None or "__" in text or not text.strip():
        raise Unreadable("characters that mathematics does not use")
    if _REFUSED.intersection(_COMMAND.findall(text)) or not _OPERATORS.issuperset(_OPERATOR.findall(text)):
        raise Unreadable("a command that no answer needs")
    if _TWO_NUMBERS.search(text) or re.search(r"\d\s*\}?\s*_", text):
        raise Unreadable("two numbers next to each other, or an index of one")
    if re.search(r"\\(?:sqrt|frac|binom|text|overline)\s*$|[+\-*/^_=<>]\s*$", text):
        raise Unreadable("ends in the middle of an expression")
    if re.search(r"\\binom|gcd|lcm|\\det|matrix", text) and re.search(
        r"\d{6}|!|\^[^^]*\^|\^\s*\{?\s*\d{3}", text
    ):
        raise TooBig("large numbers in what the parser works out at once")
    try:
        case = ConversionConfig(lowercase_symbols=not _uses_both_cases(text))
        parsed = latex2sympy(text, is_real=True, normalization_config=_FORM, conversion_config=case)
    except RecursionError:
        raise TooBig("nested too deep to parse") from None
    except (MemoryError, TooBig):
        raise
    except Exception as error:
        raise Unreadable(f"{type(error).__name__} in parsing") from None
    if not isinstance(parsed, (sympy.Basic, sympy.MatrixBase)):
        raise Unreadable("not one expression")
    check_size(parsed, max_value_digits)
    if parsed.has(sympy.nan, sympy.zoo):
        raise Unreadable("undefined")
    return parsed


def _uses_both_cases(text: str) -> bool:
    r"""A letter stands for something else than its capital: `R/r` is not 1. Elsewhere `R` may be written for `r`."""
    symbols = set(_SYMBOL.findall(text))
    return any(symbol != symbol.lower() and symbol.lower() in symbols for symbol in symbols)


def _as_latex(tidied: str) -> str:
    """Plain function names as commands, degrees of an angle as radians, bracketed arguments in braces."""
    text = re.sub(r"(?<![A-Za-z\\])(pi|sqrt|sin|cos|tan|ln|log)(?![A-Za-z])", r"\\\1 ", tidied)
    text = re.sub(r"\\text ?\{ ?([A-Za-z]) ?\}", r"\1", text)
    text = re.sub(r"\\log ?_ ?\{? ?e ?\}?", r"\\ln ", text)
    text = _DEGREES.sub(r"\1(\\frac{\2\\pi}{180})", text)
    for opening in (r"\\sqrt ?\(", r"\^ ?\("):
        while match := re.search(opening, text):
            end = _closing(text, match.end() - 1)
            if end is None:
                break
            text = f"{text[: match.end() - 1]}{{{text[match.end() : end]}}}{text[end + 1 :]}"
    return text


def _closing(text: str, start: int) -> int | None:
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i
    return None


def reads(tidied: str, max_value_digits: int) -> bool:
    """The text parses."""
    try:
        parse(tidied, max_value_digits)
    except Unreadable:
        return False
    return True


def same_value(gold: str, answer: str, max_value_digits: int) -> bool:
    """Two tidy texts are equal. An unreadable gold raises, an unreadable answer is unequal."""
    a = parse(gold, max_value_digits)
    try:
        b = parse(answer, max_value_digits)
    except Unreadable:
        return False
    if a == b:
        return True
    matrix = sympy.MatrixBase
    if isinstance(a, matrix) or isinstance(b, matrix):
        if not (isinstance(a, matrix) and isinstance(b, matrix)) or a.shape != b.shape:
            return False
        pairs = zip(a.flat(), b.flat(), strict=True)
        return all(x == y or (by_value(x, y) or False) for x, y in pairs)
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        decided = by_value(a, b)
        if decided is not None:
            return decided
        if a.free_symbols != b.free_symbols:
            return False
    related, other = (isinstance(x, (sympy.Rel, sympy.And)) for x in (a, b))
    if related and other and a.free_symbols != b.free_symbols:
        return False
    if related != other and not isinstance(a, sympy.Set) and not isinstance(b, sympy.Set):
        return False
    if isinstance(a, sympy.Rel) and isinstance(b, sympy.Rel) and (decided := same_relation(a, b)) is not None:
        return decided
    if related and other and len(a.free_symbols) == 1:
        return _same_set(a, b)
    return bool(verify(a, b, timeout_seconds=None, allow_set_relation_comp=True))  # type: ignore[arg-type]


def _same_set(a: Any, b: Any) -> bool:
    """Two relations on one symbol hold for the same real numbers."""
    try:
        return bool(a.as_set() == b.as_set())
    except (NotImplementedError, AttributeError, TypeError, ValueError):
        return False
