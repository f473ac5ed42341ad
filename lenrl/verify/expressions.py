"""Arithmetic and algebra in Python's notation, read without evaluating any of the text.

The text is parsed by Python's own parser, and the tree is walked: numbers, names, + - * / ** and elementary functions.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from lenrl.verify.limits import TooBig

FUNCTIONS = frozenset(
    "sin cos tan cot sec csc asin acos atan sinh cosh tanh asinh acosh atanh exp log ln sqrt Abs".split()  # noqa: SIM905
)
CONSTANTS = ("pi", "E", "I")
MAX_POWER_BITS = 20_000  # of a number that a power would write out

_OPERATIONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def arithmetic(text: str) -> tuple[Fraction, list[int]]:
    """The value of an expression of whole numbers, and the numbers in it, in order.

    >>> arithmetic("(8 / 3) * 9")
    (Fraction(24, 1), [8, 3, 9])

    Raises:
        ValueError, SyntaxError: it holds anything else.
        ZeroDivisionError: it divides by zero.
        TooBig: a power is too large to be written out.
    """
    numbers: list[int] = []

    def leaf(node: ast.expr) -> Fraction:
        if not isinstance(node, ast.Constant) or type(node.value) is not int:
            raise ValueError(f"{ast.dump(node):.80} is no whole number")
        numbers.append(node.value)
        return Fraction(node.value)

    return _built(_tree(text), leaf), numbers


def algebra(text: str, symbols: Mapping[str, Any]) -> Any:
    """A sympy expression; names that `symbols` does not have are new symbols.

    Raises:
        ValueError, SyntaxError: it holds what is no algebra.
        TooBig: a power is too large to be written out.
    """
    import sympy

    def leaf(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return sympy.Integer(node.value) if type(node.value) is int else sympy.Float(node.value)
        if isinstance(node, ast.Name):
            known = symbols.get(node.id) or (getattr(sympy, node.id) if node.id in CONSTANTS else None)
            return sympy.Symbol(node.id) if known is None else known
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            if node.func.id not in FUNCTIONS or len(node.args) != 1:
                raise ValueError(f"{node.func.id:.40} is no function of one argument that is known here")
            return getattr(sympy, node.func.id)(_built(node.args[0], leaf))
        raise ValueError(f"{ast.dump(node):.80} is no algebra")

    return _built(_tree(text), leaf)


def _tree(text: str) -> ast.expr:
    return ast.parse(text.strip(), mode="eval").body


def _built(node: ast.expr, leaf: Callable[[ast.expr], Any]) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _built(node.operand, leaf)
        return -value if isinstance(node.op, ast.USub) else value
    if not isinstance(node, ast.BinOp):
        return leaf(node)
    left, right = _built(node.left, leaf), _built(node.right, leaf)
    if isinstance(node.op, ast.Pow):
        return _power(left, right)
    if type(node.op) not in _OPERATIONS:
        raise ValueError(f"{type(node.op).__name__} is no operation of algebra")
    return _OPERATIONS[type(node.op)](left, right)


def _power(base: Any, exponent: Any) -> Any:
    """A power; of a number only where its digits stay few."""
    if isinstance(base, Fraction) and exponent.denominator != 1:
        raise ValueError(f"{exponent} is no whole exponent")
    number, power = (getattr(value, "is_number", True) for value in (base, exponent))
    if number and power:
        digits = 64 if not hasattr(base, "numerator") else max(map(_bits, (base.numerator, base.denominator)))
        if abs(exponent) * max(digits, 1) > MAX_POWER_BITS:
            raise TooBig(f"a power with exponent {str(exponent):.20}")
    return base**exponent


def _bits(value: Any) -> int:
    return int(value).bit_length()
