"""Size of the number that an expression stands for, judged from its tree and without writing it out."""

import math
from typing import Any

import sympy

from lenrl.verify.limits import TooBig

MOST_NODES = 2000
LOG_OF_INFINITY = 15  # decimal digits of an exponent from which on its power counts as infinite


def check_size(parsed: Any, most_digits: int) -> None:
    """Raise TooBig if an expression has too many terms, or working it out would write too many digits."""
    for node in _nodes(parsed):
        _check_node(node, most_digits)


def _nodes(parsed: Any) -> list[Any]:
    tops = parsed.flat() if isinstance(parsed, sympy.MatrixBase) else [parsed]
    nodes = [node for top in tops for node in sympy.preorder_traversal(top)]
    if len(nodes) > MOST_NODES:
        raise TooBig(f"{len(nodes)} terms in an expression, at most {MOST_NODES}")
    return nodes


def _check_node(node: Any, most: int) -> None:
    """Raise TooBig if working out a power, factorial or sum would write more than `most` digits or terms."""
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
    if log > LOG_OF_INFINITY:
        return math.inf
    return _size(number, math.inf)


def _rough_log10(number: Any) -> float:
    """log10 of the size of a number, from its tree and without writing it out; 0 where unknown."""
    if isinstance(number, sympy.Rational):
        size = abs(number.p) / 1 if abs(number.p).bit_length() < 1000 else None
        top = math.log10(size) if size else abs(number.p).bit_length() * 0.30103
        return max(top, 0.0) + abs(number.q).bit_length() * 0.30103 * (number.q != 1)
    if isinstance(number, sympy.Pow):
        log = _rough_log10(number.exp)
        if log > LOG_OF_INFINITY:
            return math.inf
        return _rough_log10(number.base) * (10**log if log else _size(number.exp, 1.0))
    if isinstance(number, (sympy.factorial, sympy.factorial2)):
        log = _rough_log10(number.args[0])
        return math.inf if log > LOG_OF_INFINITY else 10**log * max(log, 1)
    if isinstance(number, (sympy.Sum, sympy.Product, sympy.Integral)):
        return 0.0
    if isinstance(number, sympy.exp):
        log = _rough_log10(number.args[0])
        return math.inf if log > LOG_OF_INFINITY else 10**log
    if isinstance(number, sympy.Mul):
        return sum(map(_rough_log10, number.args))
    if isinstance(number, sympy.Add):
        return max(map(_rough_log10, number.args)) + 1
    return 0.0


def _size(number: Any, otherwise: float) -> float:
    try:
        return abs(complex(number.evalf(10, maxn=40)))
    except (TypeError, ValueError, OverflowError):
        return otherwise
