"""Text, units, numbers and structure without processes; the full comparison in this process."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenrl.verify.limits import Limits, TooBig, check, costly
from lenrl.verify.math.compare import compare, readable
from lenrl.verify.math.normalize import choice, key, tidy, words
from lenrl.verify.math.numbers import read_number, same_number
from lenrl.verify.math.structure import shape
from lenrl.verify.math.units import split_unit

LIMITS = Limits()


@given(st.text(max_size=80))
def test_tidying_never_raises_and_settles(text):
    once = tidy(text)
    key(text), words(once), choice(once), split_unit(once), read_number(once)
    assert key(once) == key(tidy(once))


@given(st.integers(-(10**30), 10**30))
def test_integers_read_exactly_in_every_spelling(n):
    for text in (
        str(n),
        f"{n:,}",
        f"{n:,}".replace(",", "{,}"),
        f"${n}$",
        str(n).translate(FULL_WIDTH),
        f"{n}.0",
    ):
        number = read_number(tidy(text))
        assert number is not None and number.value == n


FULL_WIDTH = str.maketrans("0123456789-", "０１２３４５６７８９－")


@given(st.integers(-999, 999), st.integers(1, 999), st.integers(-999, 999), st.integers(1, 999))
def test_fractions_are_equal_iff_their_values_are(a, b, c, d):
    left, right = read_number(rf"\frac{{{a}}}{{{b}}}"), read_number(f"{c}/{d}")
    assert left is not None and right is not None
    assert same_number(left, right) == (a * d == b * c)


@pytest.mark.parametrize(
    ("text", "core", "unit"),
    [
        (r"5\text{ cm}", "5", "cm"),
        ("5 centimeters", "5", "cm"),
        (r"5\text{ square feet}", "5", "ft^2"),
        (r"\$5", "5", "dollar"),
        (r"90^\circ", "90", "degree"),
        ("50%", "50", "%"),
        ("60 miles per hour", "60", "mi/h"),
        (r"3\sqrt{2}\text{ m}", r"3\sqrt{2}", "m"),
        (r"2\pi", r"2\pi", ""),
        ("2x", "2x", ""),
        ("3 apples", "3", "apple"),
    ],
)
def test_split_unit(text, core, unit):
    assert split_unit(tidy(text)) == (core, unit)


@pytest.mark.parametrize(
    ("text", "kind", "items"),
    [
        ("1,2", "list", ("1", "2")),
        ("1,000", "one", ("1,000",)),
        (r"\{1,2\}", "set", ("1", "2")),
        ("(1,2]", "tuple", ("1", "2")),
        ("(1,2),(3,4)", "list", ("(1,2)", "(3,4)")),
        ("(1,2)(3,4)", "one", ("(1,2)(3,4)",)),
        ("x=7", "chain", ("7",)),
        ("8=7", "chain", ("8", "7")),
        (r"x \le 7", "one", (r"x \le 7",)),
        (r"2\pm 1", "list", ("2+ 1", "2- 1")),
        (r"\frac{1,000}{3}", "one", (r"\frac{1,000}{3}",)),
    ],
)
def test_shape(text, kind, items):
    found = shape(text)
    assert (found.kind, found.items) == (kind, items)


@given(st.lists(st.integers(0, 99), min_size=2, max_size=6), st.randoms())
def test_lists_ignore_order_and_tuples_do_not(values, random):
    other = values[:]
    random.shuffle(other)
    gold, given_ = ", ".join(map(str, values)), ", ".join(map(str, other))
    assert compare(given_, gold, LIMITS) == (True, True)
    assert compare(f"({given_})", f"({gold})", LIMITS)[0] == (values == other)


@pytest.mark.parametrize(
    "text",
    ["1" * 401, "(" * 25 + ")" * 25, "x" * 2001, "1,1" * 201, "{" * 25],
    ids=["digits", "depth", "length", "commas", "open"],
)
def test_limits(text):
    with pytest.raises(TooBig):
        check(text, LIMITS)


def test_within_limits():
    check("1" * 400 + "(" * 24 + ")" * 24, LIMITS)


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9}}",
        "(10^9)!",
        r"10^{10^{8}}",
        r"\sum_{k=1}^{10^8} k",
        "x^{10^7}",
        "2^{3^{4^{5}}}",
        "((x^{4000})!)^{6000}",
    ],
)
def test_values_too_large_to_write_are_refused_before_they_are_worked_out(text):
    with pytest.raises(TooBig):
        compare(text, "x+1", LIMITS)
    assert costly(text)


def test_an_answer_of_another_shape_is_wrong_and_not_unknown():
    """The gold answer is read part by part; as one expression, for want of parts to go with, nobody reads it."""
    gold = r"(1,20.\overline{3}),(3,4)"
    assert readable(gold, LIMITS)
    assert compare(r"\~(1,2),(3,4)\}", gold, LIMITS)[0] is False
    assert compare(r"(3,4),(1,20.\overline{3})", gold, LIMITS)[0] is True


@pytest.mark.parametrize(
    "gold",
    [
        "7",
        r"\frac{1}{2}",
        "x^2+1",
        "(1,2)",
        "[0,1)",
        r"x\le 3",
        "B",
        r"\text{Monday}",
        r"\{1,2\}",
        r"x=\pm 2",
        r"\begin{pmatrix}1\\2\end{pmatrix}",
        r"(-\infty,1)\cup(2,3)",
        r"5\text{ cm}",
        r"50\%",
        r"f(x)=x^2",
        "3+4i",
    ],
)
def test_ordinary_golds_are_readable(gold):
    assert readable(gold, LIMITS)


@pytest.mark.parametrize(
    "gold", [r"\frac{1}{", "((7", "x^2+", "10^{10^{10}}", "7" * 500, r"\frac{1}{0}", " "]
)
def test_broken_or_oversized_golds_are_not(gold):
    assert not readable(gold, LIMITS)


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("[1,2)", True),
        (r"x \le 3", True),
        (r"3\pm\sqrt2", True),
        ("8=7", True),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", True),
        (r"x\in\mathbb{R}", True),
        ("1, 2, 3", True),
        ("B", True),
        (r"\text{I do not know}", False),
        ("???", False),
        (r"\frac{1}{", False),
        ("__import__('os')", False),
        ("the answer", False),
    ],
)
def test_formatted(text, yes):
    assert compare(text, "7", LIMITS)[1] is yes


@given(st.text(r"0123456789+-*/^_=<>!.,()[]{}\xyzeipfracsqtd ", max_size=25))
def test_no_short_text_breaks_the_comparison(text):
    try:
        correct, formatted = compare(text, "x+7", Limits(max_value_digits=500))
    except TooBig:
        return
    assert isinstance(correct, bool) and isinstance(formatted, bool)


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "^",
        " ",
        "\\",
        "{",
        "}",
        ",",
        "$",
        "1 ",
        "a ",
        "\\text{a",
        "\\frac",
        "5^",
        "a_",
        "²",
        "or ",
        "(",
        "x=",
        "\\ ",
        "%",
        "-",
        "1,",
        "A",
    ],
)
def test_reading_text_is_quick_on_repetitions(unit):
    """The parent runs this on every answer: no pattern may backtrack badly."""
    text = unit * (2000 // len(unit))
    start = time.process_time()
    for probe in (text, "7" + text, text + "7", r"7\text{" + text + "}", "7 " + text + "!", "x = " + text):
        tidied = tidy(probe)
        key(probe), words(tidied), choice(tidied), split_unit(tidied), read_number(tidied)
    assert time.process_time() - start < 1.0
