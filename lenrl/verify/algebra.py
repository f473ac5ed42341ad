"""Comparing mathematics with sympy and math-verify. Runs in workers only; text is parsed as LaTeX, never evaluated.

math-verify's own extraction is not used: it reads the first number of `1+1/e` and then calls it equal to `1-1/e`.
Its grammar parses, and what can be evaluated is compared by value at 50 digits; its grader decides the rest.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from lenrl.verify.limits import TooBig, Unreadable

_ALLOWED = re.compile(r"[A-Za-z0-9\s+\-*/^_=<>!.,:;|'%&()\[\]{}\\]*")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
# Commands with a size of their own (a matrix from a number, an eigenvalue problem) or that no answer needs.
_REFUSED = frozenset(["input", "include", "def", "newcommand", "let", "write", "csname", "catcode", "loop", "xrightarrow"])
_OPERATORS = frozenset(["lcm", "gcd", "arsinh", "arcosh", "artanh", "arcsinh", "arccosh", "arctanh", "sgn", "rank", "tr"])
_OPERATOR = re.compile(r"\\operatorname\s*\{\s*([A-Za-z]*)\s*\}")
_POINTS = ("1.37", "2.71", "0.43", "3.19", "5.03", "0.89", "1.93", "4.41")
_DIGITS = 50


@lru_cache(maxsize=1)
def _tools() -> tuple[Any, Any, Any]:
    """(sympy, text -> sympy object, math-verify's comparison), imported once."""
    import logging

    import sympy
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from math_verify.grader import verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    form = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False  # type: ignore[arg-type]
    )

    def read_latex(text: str) -> Any:
        return latex2sympy(text, is_real=True, convert_degrees=False, normalization_config=form)

    return sympy, read_latex, verify


@lru_cache(maxsize=2048)
def parse(tidied: str, max_value_digits: int) -> Any:
    """The sympy object of a tidy text. Raises Unreadable or TooBig; evaluates nothing."""
    sympy, read_latex, _ = _tools()
    text = re.sub(r"(?<![A-Za-z\\])(pi|sqrt|sin|cos|tan|ln|log)(?![A-Za-z])", r"\\\1 ", tidied)
    text = re.sub(r"\\text ?\{ ?([A-Za-z]) ?\}", r"\1", text)
    if _ALLOWED.fullmatch(text) is None or "__" in text or not text.strip():
        raise Unreadable("characters that mathematics does not use")
    if _REFUSED.intersection(_COMMAND.findall(text)) or not _OPERATORS.issuperset(_OPERATOR.findall(text)):
        raise Unreadable("a command that no answer needs")
    if re.search(r"\\(?:sqrt|frac|binom|text|overline)\s*$|[+\-*/^_=<>]\s*$", text):
        raise Unreadable("ends in the middle of an expression")
    if re.search(r"\\binom|gcd|lcm|\\det|matrix", text) and re.search(r"\d{5}|!|\^[^^]*\^|\^\s*\{?\s*\d{3}", text):
        raise TooBig("large numbers in what the parser works out at once")
    try:
        parsed = read_latex(text)
    except RecursionError:
        raise TooBig("nested too deep to parse") from None
    except (MemoryError, TooBig):
        raise
    except Exception as error:
        raise Unreadable(f"{type(error).__name__} in parsing") from None
    if not isinstance(parsed, (sympy.Basic, sympy.MatrixBase)):
        raise Unreadable("not one expression")
    for node in _nodes(parsed):
        _digits_of(node, max_value_digits)
    if parsed.has(sympy.nan, sympy.zoo):
        raise Unreadable("undefined")
    return parsed


def reads(tidied: str, max_value_digits: int) -> bool:
    """Whether it parses."""
    try:
        parse(tidied, max_value_digits)
    except Unreadable:
        return False
    return True


def same_value(gold: str, given: str, max_value_digits: int) -> bool:
    """Whether two tidy texts are equal as mathematics. Unreadable gold raises; an unreadable answer is not equal."""
    sympy, _, verify = _tools()
    a = parse(gold, max_value_digits)
    try:
        b = parse(given, max_value_digits)
    except Unreadable:
        return False
    if a == b:
        return True
    matrix = sympy.MatrixBase
    if isinstance(a, matrix) or isinstance(b, matrix):
        if not (isinstance(a, matrix) and isinstance(b, matrix)) or a.shape != b.shape:
            return False
        pairs = zip(a.flat(), b.flat(), strict=True)
        return all(x == y or (_by_value(x, y) or False) for x, y in pairs)
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        decided = _by_value(a, b)
        if decided is not None:
            return decided
        if a.free_symbols != b.free_symbols:
            return False
    relation = (sympy.Rel, sympy.And)
    if isinstance(a, relation) != isinstance(b, relation) and not isinstance(a, sympy.Set) and not isinstance(b, sympy.Set):
        return False
    if isinstance(a, relation) and isinstance(b, relation) and a.free_symbols != b.free_symbols:
        return False
    if isinstance(a, sympy.Eq) and isinstance(b, sympy.Eq) and (decided := _same_equation(a, b)) is not None:
        return decided
    return bool(verify(a, b, timeout_seconds=None, allow_set_relation_comp=True))  # type: ignore[arg-type]


def _nodes(parsed: Any) -> list[Any]:
    sympy = _tools()[0]
    tops = parsed.flat() if isinstance(parsed, sympy.MatrixBase) else [parsed]
    found = [node for top in tops for node in sympy.preorder_traversal(top)]
    if len(found) > 2000:
        raise TooBig(f"{len(found)} terms in an expression, at most 2000")
    return found


def _digits_of(node: Any, most: int) -> None:
    """Raise TooBig if working out a power, factorial, sum or product would write more than `most` digits or terms."""
    sympy = _tools()[0]
    if isinstance(node, sympy.Pow) and node.exp.is_number:
        power = abs(_rough(node.exp))
        width = abs(_rough_log10(node.base)) if node.base.is_number else 1.0
        if power * max(width, 1e-9) > most or power > most * 100:
            raise TooBig(f"a power of about {power * width:.3g} digits, at most {most}")
    elif isinstance(node, sympy.exp) and node.args[0].is_number:
        if abs(_rough(node.args[0])) > most:
            raise TooBig(f"a power of e beyond {most}")
    elif isinstance(node, (sympy.factorial, sympy.factorial2)) and node.args[0].is_number:
        if abs(_rough(node.args[0])) > most / 3:
            raise TooBig(f"a factorial of more than {most} digits")
    elif isinstance(node, (sympy.Sum, sympy.Product)):
        for _, low, high in node.limits:
            if low.is_number and high.is_number and high.is_finite and abs(_rough(high - low)) > most:
                raise TooBig(f"more than {most} terms in a sum")


def _rough(number: Any) -> float:
    """A float near a number, infinity if it is beyond one; towers are caught from the inside out."""
    log = _rough_log10(number)
    if log > 15:
        return float("inf")
    try:
        return abs(complex(number.evalf(10, maxn=40)))
    except (TypeError, ValueError, OverflowError):
        return float("inf")


def _rough_log10(number: Any) -> float:
    """log10 of the size of a number, from its tree and without writing it out; 0 where unknown."""
    import math

    sympy = _tools()[0]
    if isinstance(number, sympy.Rational):
        size = abs(number.p) / 1 if abs(number.p).bit_length() < 1000 else None
        top = math.log10(size) if size else abs(number.p).bit_length() * 0.30103
        return max(top, 0.0) + abs(number.q).bit_length() * 0.30103 * (number.q != 1)
    if isinstance(number, sympy.Pow):
        log = _rough_log10(number.exp)
        return float("inf") if log > 15 else _rough_log10(number.base) * (10**log if log else abs(_small(number.exp)))
    if isinstance(number, (sympy.factorial, sympy.factorial2)):
        log = _rough_log10(number.args[0])
        return float("inf") if log > 15 else 10**log * max(log, 1)
    if isinstance(number, (sympy.Sum, sympy.Product, sympy.Integral)):
        return 0.0
    if isinstance(number, sympy.exp):
        log = _rough_log10(number.args[0])
        return float("inf") if log > 15 else 10**log
    if isinstance(number, sympy.Mul):
        return sum(map(_rough_log10, number.args))
    if isinstance(number, sympy.Add):
        return max(map(_rough_log10, number.args)) + 1
    return 0.0


def _small(number: Any) -> float:
    try:
        return float(number.evalf(10, maxn=40))
    except (TypeError, ValueError, OverflowError):
        return 1.0


def _by_value(a: Any, b: Any) -> bool | None:
    """Equal at every point where both have a value; None if there is no such point."""
    sympy = _tools()[0]
    names = sorted({s.name for s in a.free_symbols | b.free_symbols} - {"i"})
    if len(names) > len(_POINTS) or a.has(sympy.oo, sympy.core.function.AppliedUndef) or b.has(sympy.oo):
        return None
    if a.has(sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit) != b.has(
        sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit
    ):
        return False  # a task left standing is no value
    rounded = a.has(sympy.Float) or b.has(sympy.Float)
    met = 0
    for turn in range(4 if names else 1):
        at = {name: _POINTS[(i + 3 * turn) % len(_POINTS)] for i, name in enumerate(names)}
        at = {name: ("-" if turn == 2 else "") + value for name, value in at.items()}
        x, y = _value(a, at), _value(b, at)
        if x is None or y is None:
            continue
        if turn == 2 and (x.has(sympy.I) or y.has(sympy.I)):
            continue  # another branch of a root or a logarithm
        met += 1
        if not _near(x, y, rounded):
            return False
    return met > 0 or None


def _value(expr: Any, at: dict[str, str]) -> Any:
    """50 digits of an expression with numbers for its symbols, None if it has no finite value there."""
    sympy = _tools()[0]
    numbers = {s: sympy.I if s.name == "i" else sympy.Rational(at[s.name]) for s in expr.free_symbols}
    try:
        value = expr.xreplace(numbers).evalf(_DIGITS, maxn=400) if numbers else expr.evalf(_DIGITS, maxn=400)
        value = sympy.N(value.doit(), _DIGITS) if not value.is_Number and value.has(sympy.UnevaluatedExpr) else value
        value = sympy.expand(value) if not value.is_Number else value
    except (ArithmeticError, ValueError, TypeError, AttributeError, NotImplementedError):
        return None
    parts = value.as_real_imag() if value.is_number else ()
    return value if parts and all(part.is_Number and part.is_finite for part in parts) else None


def _near(x: Any, y: Any, rounded: bool) -> bool:
    """Equal to 40 digits, or for decimals within half a unit of the sixth place and 1e-5 of the value."""
    sympy = _tools()[0]
    gap, size = abs(sympy.N(x - y, 60)), max(abs(x), abs(y))
    if gap == 0 or gap <= size * sympy.Float("1e-40"):
        return True
    if rounded:
        return bool(gap <= sympy.Float("5e-7") and gap <= size * sympy.Float("1e-5"))
    return bool(size < sympy.Float("1e-45"))


def _same_equation(a: Any, b: Any) -> bool | None:
    """Whether the two sides' differences are proportional; None where values do not decide."""
    names = sorted({s.name for s in a.free_symbols})
    if not names or len(names) > 4:
        return None
    ratio = None
    for turn in range(4):
        at = {name: _POINTS[(i + 3 * turn) % len(_POINTS)] for i, name in enumerate(names)}
        x, y = _value(a.lhs - a.rhs, at), _value(b.lhs - b.rhs, at)
        if x is None or y is None or y == 0:
            return None
        if ratio is not None and not _near(x / y, ratio, False):
            return None  # perhaps solved for another symbol: the grader looks
        ratio = x / y
    return ratio is not None and ratio != 0


