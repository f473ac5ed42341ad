"""Plain numbers, read exactly and compared without any parser: most answers of easy tasks."""

import re
from dataclasses import dataclass
from fractions import Fraction

from lenrl.verify.math.units import split_unit

_INT = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
_DECIMAL = re.compile(rf"({_INT})?(?:\.(\d*))?")
_SCIENCE = re.compile(
    r"(.+?)\s*(?:(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{?\s*([+-]?\d{1,3})\s*\}?|[eE]([+-]?\d{1,3}))"
)
_POWER_OF_TEN = re.compile(r"10\s*\^\s*\{?\s*([+-]?\d{1,3})\s*\}?")
_SLASH = re.compile(r"(?:(\d+) )?(\d+) ?/ ?(\d+)")
_FRAC = re.compile(r"(\d+)? ?\\frac ?(?:\{ ?([+-]?)(\d+) ?\} ?\{ ?([+-]?)(\d+) ?\}|(\d) ?(\d))")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar)\{(\d+)\}")

ROUNDING = Fraction(5, 10**7)  # a decimal may be off by half a unit of the sixth place ...
RELATIVE = Fraction(1, 10**5)  # ... but never by more than this share of the larger value


@dataclass(frozen=True)
class Plain:
    """A number with its unit; `decimal`: written with a point, so it may be rounded."""

    value: Fraction
    decimal: bool
    unit: str = ""


def read_number(tidied: str) -> Plain | None:
    r"""The number that a tidy text writes out in full, else None.

    >>> read_number(r"3\frac{1}{2} \text{ cm}")
    Plain(value=Fraction(7, 2), decimal=False, unit='cm')
    >>> read_number("2x") is None
    True
    """
    if len(tidied) > 400:
        return None
    core, unit = split_unit(tidied)
    sign = 1
    while core[:1] in ("+", "-"):
        sign = -sign if core[0] == "-" else sign
        core = core[1:].lstrip()
    read = _unsigned(core)
    return None if read is None else Plain(sign * read[0], read[1], unit)


def same_number(gold: Plain, answer: Plain) -> bool:
    """Equal values; a decimal may be rounded at its sixth place.

    A percent sign that one side alone writes may be a unit, so that 50 % is 50; it may be a hundredth, so that 50 % is
    0.5, but not where the gold answer is a whole number above 1, which is no share: 700 % is not 7.
    """
    percent = (gold.unit == "%") + (answer.unit == "%")
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return False
    rounded = gold.decimal or answer.decimal
    if close(gold.value, answer.value, rounded):
        return True
    if percent != 1 or answer.unit == "%" and not is_share(gold):
        return False
    hundredth = Fraction(1, 100)
    scaled = (gold.value * (hundredth if gold.unit else 1), answer.value * (hundredth if answer.unit else 1))
    return close(*scaled, rounded)


def is_share(gold: Plain) -> bool:
    """A gold answer that a percentage may stand for: no whole number above 1."""
    return gold.value.denominator != 1 or abs(gold.value) <= 1


def close(a: Fraction, b: Fraction, rounded: bool) -> bool:
    """Equal, or with `rounded` within the tolerance for decimals."""
    gap = abs(a - b)
    return gap == 0 or rounded and gap <= ROUNDING and gap <= RELATIVE * max(abs(a), abs(b))


def _unsigned(text: str) -> tuple[Fraction, bool] | None:
    if match := _FRAC.fullmatch(text):
        whole, s, a, t, b, c, d = match.groups()
        top, bottom = int(a or c), int(b or d)
        if bottom == 0 or whole and (s or t):
            return None
        value = Fraction(top, bottom) * (-1 if (s == "-") != (t == "-") else 1)
        return value + int(whole or 0), False
    if match := _SLASH.fullmatch(text):
        whole, a, b = match.groups()
        return None if int(b) == 0 else (int(whole or 0) + Fraction(int(a), int(b)), False)
    if match := _REPEATING.fullmatch(text):
        whole, fixed, again = match.groups()
        tail = Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(fixed))
        return int(whole or 0) + Fraction(int(fixed or 0), 10 ** len(fixed)) + tail, False
    if (match := _SCIENCE.fullmatch(text)) and (base := _unsigned(match.group(1))):
        return base[0] * Fraction(10) ** int(match.group(2) or match.group(3)), base[1]
    if match := _POWER_OF_TEN.fullmatch(text):
        return Fraction(10) ** int(match.group(1)), False
    if (match := _DECIMAL.fullmatch(text)) and (match.group(1) or match.group(2)):
        digits = re.sub(r"[, ]", "", match.group(1) or "0")
        tail = match.group(2) or ""
        return Fraction(f"{digits}.{tail or 0}"), bool(tail)
    return None
