r"""Splitting `5 \text{ cm}` into value and unit, and one name for each unit.

A unit that only one side writes is ignored; different units make different answers; nothing is converted.
"""

import re

from lenrl.verify.math.normalize import FUNCTIONS

_NAMES = {
    "dollar": "$ usd dollars buck", "euro": "€ eur", "pound": "£ gbp lb lbs pounds", "yen": "¥ jpy",
    "rupee": "₹ rs inr", "cent": "cents", "degree": "deg degrees °", "rad": "radian",
    "m": "meter metre", "cm": "centimeter centimetre", "km": "kilometer kilometre", "mm": "millimeter millimetre",
    "ft": "foot feet", "in": "inch inches", "yd": "yard", "mi": "mile",
    "g": "gram gm", "kg": "kilogram", "mg": "milligram", "l": "liter litre", "ml": "milliliter millilitre",
    "s": "sec second", "min": "minute", "h": "hr hour", "day": "days",
    "m/s": "mps", "km/h": "kmh kph kmph", "mph": "mi/h",
    "": "unit units square_units cubic_units sq_units unit^2 unit^3",
}  # fmt: skip
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}  # powers of ten
# Words of another value or of a calculation: `7 or eight`, `7 minus two`, `7 tenths` are no 7 with a unit.
_NO_UNIT = frozenset(
    "or plus minus negative not squared cubed factorial half zero one two three four five six seven eight nine ten "  # noqa: SIM905
    "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty "
    "seventy eighty ninety third fourth fifth sixth seventh eighth ninth tenth hundredth thousandth halves thirds "
    "fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths".split()
).union(_SCALES)
_ALIASES = {
    alias.replace("_", " "): name for name, all_ in _NAMES.items() for alias in [*all_.split(), name] if alias
}
_KNOWN_SHORT = frozenset(a for a in _ALIASES if a.isalpha() and len(a) >= 2)

_SIZES = {"two": "2", "eight": "8"}  # of a base

_CURRENCY = re.compile(r"^(-?)\s*\\?([$€£¥₹])\s*(?=[\d.\\])")
_DEGREES = re.compile(r"\s*\^\s*\{?\s*\\circ\s*\}?\s*(?:\\text\{\s*([CF])\s*\}|([CF]))?$")
# No digits but in a power: `7 \text{ (or 8)}` is not one value.
_TEXT_UNIT = re.compile(
    r"\s*\\text\{((?:[^{}\d]|\^-?\d)*[A-Za-z$€£¥₹%](?:[^{}\d]|\^-?\d)*)\}\s*(\^\s*\{?\s*-?\d\s*\}?)?$"
)
_WORD_UNIT = re.compile(r"(?<=[\d})])(\s*)([A-Za-z]{2,}(?:[ /][A-Za-z]+){0,4})(\^\{?\d\}?)?$")
_BASE = re.compile(r"^([0-9A-Za-z]+)\s*_\s*(?:\{?\s*(?:\\text\{)?\s*(\d{1,2}|two|eight)\s*\}?\s*\}?)$")
_TRAILING_SIGN = re.compile(r"\s*\\?[$€£¥₹]$")
_SCALE = re.compile(rf"(?<=[\d}}]) ?(\\text ?\{{ ?)?({'|'.join(_SCALES)})s?(?![A-Za-z])", re.IGNORECASE)
_ORDINAL = re.compile(r"(?<=\d) ?\^ ?\{? ?(?:\\text ?\{)? ?(?:st|nd|rd|th) ?\}{0,2}$")
_CLOCK = re.compile(r"(\d{1,2}:\d{2}) ?(?:\\text ?\{)? ?([AaPp])\.? ?[Mm]\.? ?\}?$")
_MODULUS = re.compile(r" ?(?:\\pmod ?\{? ?|\( ?(?:\\text ?\{ ?)?mod ?\}? ?)(\d+) ?[)}]?$")


def split_unit(tidied: str) -> tuple[str, str]:
    """(the text without its unit, the unit's name or ""); percent signs are `%`."""
    text, unit = _scaled(tidied.strip()), ""
    if match := _CURRENCY.match(text):
        text, unit = match.group(1) + text[match.end() :], _ALIASES[match.group(2)]
    for _ in range(3):
        core, inner = _split_once(text)
        if core == text or not core:
            break
        text, unit = core, unit or inner
    return text, unit


def _scaled(text: str) -> str:
    r"""The text with words such as million as powers of ten.

    >>> _scaled(r"5 \text{ million dollars}"), _scaled("2 hundred thousand")
    ('5 \\times 10^{6}\\text{ dollars}', '2 \\times 10^{2} \\times 10^{3}')
    """
    while match := _SCALE.search(text):
        power = f" \\times 10^{{{_SCALES[match.group(2).lower()]}}}"
        text = text[: match.start()] + power + (match.group(1) or "").rstrip() + text[match.end() :]
    return re.sub(r"\\text ?\{ ?\}", "", text).strip()


def _split_once(text: str) -> tuple[str, str]:
    if text.endswith("%"):
        return text[:-1].rstrip("\\ "), "%"
    if (match := _BASE.match(text)) and _has_digits_of(match.group(2), match.group(1)):
        return match.group(1), f"base {_SIZES.get(match.group(2), match.group(2))}"
    if match := _CLOCK.search(text):
        return match.group(1), f"{match.group(2).lower()}m"
    if match := _MODULUS.search(text):
        return text[: match.start()], f"modulo {match.group(1)}"
    if match := _ORDINAL.search(text):
        return text[: match.start()], "th"
    if (match := _DEGREES.search(text)) and not re.search(r"\\?(?:sin|cos|tan|cot|sec|csc)", text):
        return text[: match.start()].rstrip(), "degree" + (match.group(1) or match.group(2) or "").lower()
    if (match := _TEXT_UNIT.search(text)) and _names_a_unit(match.group(1)):
        return text[: match.start()].rstrip(), unit_name(match.group(1) + _power(match.group(2)))
    if (match := _WORD_UNIT.search(text)) and _names_a_unit(match.group(2)):
        space, word = match.group(1), match.group(2).lower()
        first = word.split()[0].split("/")[0]
        if first not in FUNCTIONS and (
            word in _KNOWN_SHORT or first in _KNOWN_SHORT and space or len(first) >= 3 and space
        ):
            return text[: match.start()].rstrip(), unit_name(word + _power(match.group(3)))
    if match := _TRAILING_SIGN.search(text):
        return text[: match.start()], _ALIASES[match.group().strip()[-1]]
    return text, ""


def _names_a_unit(words: str) -> bool:
    return _NO_UNIT.isdisjoint(re.findall("[a-z]+", words.lower()))


def _has_digits_of(base: str, number: str) -> bool:
    """A number holds a digit, and none that the base does not have."""
    size = int(_SIZES.get(base, base))
    return any(c.isdigit() for c in number) and all(int(c, 36) < size for c in number)


def unit_name(written: str) -> str:
    """One name for each unit: case, plural, spelled-out powers and abbreviations do not matter."""
    text = re.sub(r"[\s~]+", " ", written.replace("\\", " ").strip(" .-").lower())
    text = re.sub(r"\s*(?:/| per )\s*", "/", text)
    if text in ("percent", "pct", "percentage", "%"):
        return "%"
    for spelled, power in (("square", 2), ("sq", 2), ("cubic", 3), ("cu", 3)):
        if match := re.match(rf"{spelled}\.? (.+)", text):
            text = f"{match.group(1)}^{power}"
            break
    base, hat, power = text.partition("^")
    parts = []
    for part in base.strip().split("/"):
        name = part.strip()
        plural = name not in _ALIASES and name.endswith("s") and len(name) > len("gas")
        name = name[:-1] if plural else name
        parts.append(_ALIASES.get(name, name))
    name = "/".join(parts)
    return name + hat + power.strip() if name else ""


def _power(written: str | None) -> str:
    return "^" + re.sub(r"[^\d-]", "", written) if written else ""
