"""Comparing expressions by value: 50 digits, at fixed points if there are symbols.

Exact expressions must agree to 40 digits, so 1e-20 is not 0 and a near integer is no integer; with a decimal
on either side they may differ by half a unit of the sixth place, but never by more than 1e-5 of the value.
"""

from typing import Any

import sympy
from sympy.core.function import AppliedUndef

_POINTS = ("1.37", "2.71", "0.43", "3.19", "5.03", "0.89", "1.93", "4.41")
_DIGITS = 50
_TASKS = (sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit)


def by_value(a: Any, b: Any) -> bool | None:
    """Equal at every point where both have a value; None if there is no such point."""
    names = _names(a, b)
    if len(names) > len(_POINTS) or a.has(sympy.oo, AppliedUndef) or b.has(sympy.oo):
        return None
    if a.has(*_TASKS) != b.has(*_TASKS):
        return False  # a task left standing is no value
    rounded = a.has(sympy.Float) or b.has(sympy.Float)
    met = 0
    for turn in range(4 if names else 1):
        at = _point(names, turn, "-" if turn == 2 else "")
        x, y = _value(a, at), _value(b, at)
        if x is None or y is None:
            continue
        if turn == 2 and (x.has(sympy.I) or y.has(sympy.I)):
            continue  # another branch of a root or a logarithm
        met += 1
        if not _near(x, y, rounded):
            return False
    return met > 0 or None


def same_relation(a: Any, b: Any) -> bool | None:
    """Two relations between values say the same; None where neither values nor sets decide.

    The differences of their sides must be proportional, for inequalities with the right sign.
    """
    less = (sympy.Lt, sympy.Le)
    symmetric = isinstance(a, (sympy.Eq, sympy.Ne))
    if symmetric and type(a) is not type(b) or a.has(sympy.Set, sympy.Tuple) or b.has(sympy.Set, sympy.Tuple):
        return None if not symmetric else False
    strict = (sympy.Lt, sympy.Gt)
    if not symmetric and (
        isinstance(b, (sympy.Eq, sympy.Ne)) or isinstance(a, strict) != isinstance(b, strict)
    ):
        return False
    left, right = a.lhs - a.rhs, b.lhs - b.rhs  # pyright: ignore[reportOperatorIssue]
    ratio = _ratio(left, right)
    if ratio is not None:
        return bool(symmetric or (ratio > 0) == (isinstance(a, less) == isinstance(b, less)))
    if isinstance(a, sympy.Eq):  # solved for another symbol? With no solution nothing would be compared
        return None if sympy.solve(a) and sympy.solve(b) else False
    return False if symmetric or len(a.free_symbols) != 1 else None


def _ratio(a: Any, b: Any) -> Any:
    """The constant real quotient of two expressions, None if there is none (or it is zero)."""
    names = _names(a, b)
    if not names or len(names) > 4:
        return None
    ratio = None
    for turn in range(4):
        at = _point(names, turn)
        x, y = _value(a, at), _value(b, at)
        if x is None or y is None or y == 0 or not (x / y).is_real:
            return None
        if ratio is not None and not _near(x / y, ratio, False):
            return None
        ratio = x / y
    return ratio if ratio else None


def _names(a: Any, b: Any) -> list[str]:
    """Names of the symbols of both, the imaginary unit apart."""
    return sorted({s.name for s in a.free_symbols | b.free_symbols} - {"i"})


def _point(names: list[str], turn: int, sign: str = "") -> dict[str, str]:
    return {name: sign + _POINTS[(i + 3 * turn) % len(_POINTS)] for i, name in enumerate(names)}


def _value(expr: Any, at: dict[str, str]) -> Any:
    """50 digits of an expression with numbers for its symbols, None if it has no finite value there."""
    numbers = {s: sympy.I if s.name == "i" else sympy.Float(at[s.name], 90) for s in expr.free_symbols}
    try:
        value = expr.xreplace(numbers).evalf(_DIGITS, maxn=400) if numbers else expr.evalf(_DIGITS, maxn=400)
        if not value.is_Number and value.has(sympy.UnevaluatedExpr):
            value = sympy.N(value.doit(), _DIGITS)
        value = sympy.expand(value) if not value.is_Number else value
    except (ArithmeticError, ValueError, TypeError, AttributeError, NotImplementedError):
        return None
    parts = value.as_real_imag() if value.is_number else ()
    return value if parts and all(part.is_Number and part.is_finite for part in parts) else None


def _near(x: Any, y: Any, rounded: bool) -> bool:
    """Equal to 40 digits, or for decimals within half a unit of the sixth place and 1e-5 of the value."""
    gap, size = abs(sympy.N(x - y, 60)), max(abs(x), abs(y))
    if gap == 0 or gap <= size * sympy.Float("1e-40"):
        return True
    if rounded:
        return bool(gap <= sympy.Float("5e-7") and gap <= size * sympy.Float("1e-5"))
    return bool(size < sympy.Float("1e-45"))
