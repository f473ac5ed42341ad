r"""One spelling for answers that mean the same: scripts, LaTeX spacing, wrappers, units.

`tidy` gives text that still parses as LaTeX, `key` what exact match compares, `words` a text answer.
"""

import re
import unicodedata

from lenrl.verify.extract import closing_brace

_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "·": r"\cdot ",
    "⋅": r"\cdot ", "∙": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "π": r"\pi ", "∞": r"\infty ",
    "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "±": r"\pm ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "°": r"^\circ ", "º": r"^\circ ",
    "∅": r"\emptyset ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ",
    "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ", "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅕": r"\frac{1}{5}",
    "⅛": r"\frac{1}{8}", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "’": "'",
    "‘": "'", "“": '"', "”": '"', "、": ",", "。": ".", "\u200b": "", "\u200e": "", "\u200f": "", "\u2060": "",
    "\ufeff": "", "\u2061": "",
}  # fmt: skip
_SIGN_TABLE = str.maketrans(_SIGNS)
_UPPER = {c: d for c, d in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True)}
_LOWER = {c: d for c, d in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)}
_UPPER_RUN = re.compile("[" + "".join(_UPPER) + "]+")
_LOWER_RUN = re.compile("[" + "".join(_LOWER) + "]+")
_ROOT = re.compile(r"√\s*(\d+(?:\.\d+)?|[A-Za-z])")

_REWRITES = [
    (re.compile(r"\\m?(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])\.?"), ""),
    (re.compile(r"\\[!]"), ""),
    (re.compile(r"(?<=\d)\\[,;: ](?=\d{3}(?!\d))"), ""),
    (re.compile(r"\\(?:[,;:>]|quad(?![A-Za-z])|qquad(?![A-Za-z]))|~"), " "),
    (re.compile(r"(?<!\\)\\ "), " "),
    (re.compile(r"\\(?:displaystyle|textstyle|limits|rm|bf|it|boldsymbol|mathstrut)(?![A-Za-z])"), ""),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![A-Za-z])"), r"\\binom"),
    (re.compile(r"\\(?:textbf|textit|textrm|textnormal|texttt|mathrm|mathbf|mathit|mathsf|mbox|textsf|emph|bm)(?![A-Za-z])\s*"),
     r"\\text"),
    (re.compile(r"\\text\s*\{\s*\}"), ""),
    (re.compile(r"\{\s*,\s*\}"), ","),
    (re.compile(r"\\leqslant(?![A-Za-z])|\\leq(?![A-Za-z])"), r"\\le"),
    (re.compile(r"\\geqslant(?![A-Za-z])|\\geq(?![A-Za-z])"), r"\\ge"),
    (re.compile(r"\\neq(?![A-Za-z])"), r"\\ne"),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\degrees?(?![A-Za-z])"), r"^\\circ"),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"\\(?:lbrace|\{)"), r"\\{"),
    (re.compile(r"\\(?:rbrace|\})"), r"\\}"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\mathbb ?([A-Z])(?![A-Za-z])"), r"\\mathbb{\1}"),
    (re.compile(r"\\langle(?![A-Za-z])"), "("),
    (re.compile(r"\\rangle(?![A-Za-z])"), ")"),
    (re.compile(r"\*\*(?=\s*[\d({A-Za-z-])"), "^"),
]  # fmt: skip
_SPACES = re.compile(r"\s+")
# Of a tidy text: a space but between two numbers; `1 000` is one
_NO_GAP = re.compile(r" (?!\d)|(?<!\d) |(?<=\d) (?=\d{3}(?!\d))")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_PAIRS = [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"), ('"', '"')]


def tidy(text: str) -> str:
    """NFKC with ASCII digits, mathematical signs as LaTeX, one spelling of spacing commands, no wrappers."""
    text = _UPPER_RUN.sub(lambda m: "^{" + "".join(_UPPER[c] for c in m.group()) + "}", text)
    text = _LOWER_RUN.sub(lambda m: "_{" + "".join(_LOWER[c] for c in m.group()) + "}", text)
    text = _ROOT.sub(r"\\sqrt{\1}", text).replace("√", r"\sqrt ").translate(_SIGN_TABLE)
    text = unicodedata.normalize("NFKC", text).translate(_SIGN_TABLE)
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(c)) if not c.isascii() and c.isdecimal() else c for c in text)
    text = _unwrap(_SPACES.sub(" ", text).strip())
    for pattern, new in _REWRITES:
        text = pattern.sub(new, text)
    return _unwrap(_SPACES.sub(" ", text).strip())


def key(text: str) -> str:
    """Tidy text without spaces, text commands opened, as `verifier.kind=exact` compares it."""
    return _SPACES.sub("", _TEXT.sub(r"\1", tidy(text)))


def same_spelling(tidied: str, other: str) -> bool:
    """Two tidy texts are equal without spaces, text commands opened; `1 2` is no 12."""
    a, b = (_NO_GAP.sub("", _TEXT.sub(r"\1", text)) for text in (tidied, other))
    return a == b


def words(tidied: str) -> str | None:
    """A text answer's words, case folded, or None if the tidy text is no plain language."""
    opened = _TEXT.sub(r" \1 ", tidied)
    plain = _SPACES.sub(" ", opened).strip(" .,;:!?'\"").casefold()
    if not plain or "\\" in plain or re.search(r"[=+*^_<>|{}$%\[\]]", plain) or not plain[0].isalpha():
        return None
    runs = re.findall(r"[^\W\d_]+", plain)
    if re.fullmatch(r"[A-Z]{3,}", opened.strip()):
        return plain  # an order or a name such as BADC, no product
    if any(not run.isascii() for run in runs):
        return plain
    if "\\text" in tidied and not _TEXT.sub("", tidied).strip(" .,;"):
        return plain if max(map(len, runs)) > 1 else None
    return plain if any(len(run) >= 4 and run not in FUNCTIONS for run in runs) else None


def letters(tidied: str) -> str | None:
    """The text case folded if it consists of letters and spaces alone, text commands opened."""
    plain = _SPACES.sub(" ", _TEXT.sub(r" \1 ", tidied)).strip(" .").casefold()
    return plain if plain.replace(" ", "").isalpha() else None


def choice(tidied: str) -> str | None:
    """The capital letter of a multiple-choice answer: `B`, `(B)`, `B.`, `\\text{(B)}`, `(B) 12`."""
    opened = _TEXT.sub(r"\1", tidied).strip()
    match = re.match(r"\(([A-Za-z])\)|([A-Z])(?:[).:]|$)|([a-z])$", opened)
    if match is None or len(opened) > 3 and match.group(3):
        return None
    if re.search(r"(?<![A-Za-z])[A-Z](?![A-Za-z])", opened[match.end() :]):
        return None  # `(B) or (C)` chooses nothing
    return (match.group(1) or match.group(2) or match.group(3)).upper()


_NAMES = (
    "sqrt sin cos tan cot sec csc log ln exp arcsin arccos arctan sinh cosh tanh pi theta alpha beta gamma "
    "lambda infty infinity frac times cdot max min gcd lcm mod det"
)
FUNCTIONS = frozenset(_NAMES.split())


def _unwrap(text: str) -> str:
    """Without the delimiters and the final full stop that surround the whole of it."""
    for _ in range(6):
        before = text
        if text[-1:] in ".,;" and not text.endswith((r"\;", r"\,")):
            text = text[:-1].rstrip()
        for left, right in _PAIRS:
            if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right):
                inner = text[len(left) : -len(right)]
                if left not in inner and right not in inner:
                    text = inner.strip()
        if text.startswith("{") and text.endswith("}") and closing_brace(text, 0) == len(text) - 1:
            text = text[1:-1].strip()
        if text == before:
            break
    return text
