"""Where the answer stands: the rules by example, and properties on arbitrary and hostile text."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenrl.verify.extract import extract_answer, tag_report

PIECES = st.lists(
    st.sampled_from(
        [
            "<think>",
            "</think>",
            r"\boxed{",
            r"\boxed",
            r"\fbox{",
            "}",
            "{",
            "\\",
            "<answer>",
            "</answer>",
            "7",
            " ",
            "x",
        ]
    ),
    max_size=40,
).map("".join)
INNER = st.text("0123456789+-/xyz ", min_size=1, max_size=12).map(str.strip).filter(bool)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{7}", "7"),
        (r"\boxed {7}", "7"),
        (r"\fbox{7}", "7"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{a\\}", r"a\\"),
        (r"\boxed{1}\boxed{2", None),
        (r"\boxed{1}\boxed{}", None),
        (r"\boxed{1}\boxed{ $ $ }", None),
        (r"\boxedx{7}", None),
        (r"\boxed{7} \boxedx{8}", "7"),
        (r"\boxed 7", None),
        (r"<think>\boxed{7}", None),
        (r"<think>\boxed{7}</think>", None),
        (r"<think>\boxed{8}</think>\boxed{7}", "7"),
        (r"<think>a</think>\boxed{7}<think>b", None),
        ("", None),
    ],
)
def test_boxed(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>7</answer>", "7"),
        ("<answer>8</answer> <answer> 7 </answer>", "7"),
        ("<answer>7</answer><answer>8", "7"),
        (r"<answer>so \boxed{7}.</answer>", "7"),
        (r"<answer>\boxed{7</answer>", None),
        ("<answer></answer>", None),
        ("</answer>7<answer>", None),
        ("<think><answer>7</answer></think>", None),
    ],
)
def test_answer_tag(text, answer):
    assert extract_answer(text, format="answer_tag") == answer


def test_a_prefilled_think_tag_must_be_closed():
    assert extract_answer(r"\boxed{7}", think_prefilled=True) is None
    assert extract_answer(r"a</think>\boxed{7}", think_prefilled=True) == "7"


@pytest.mark.parametrize(
    ("text", "prefilled", "report"),
    [
        (r"<think>a</think>\boxed{7}", False, (True, True)),
        (r"  <think></think>\boxed{7}", False, (True, True)),
        (r"a</think>\boxed{7}", False, (False, True)),
        (r"a</think>\boxed{7}", True, (True, True)),
        (r"<think>a</think>\boxed{7}", True, (False, True)),
        (r"x<think>a</think>\boxed{7}", False, (False, True)),
        (r"<think><think>a</think>\boxed{7}", False, (False, True)),
        (r"\boxed{7}", False, (False, True)),
        (r"<think>a</think>\boxed{7}\boxed{7}", False, (True, False)),
        (r"<think>a</think>\boxed{7", False, (True, False)),
        (r"<think>\boxed{7}</think>", False, (True, False)),
        (r"<think>\boxed{7}", False, (False, False)),
    ],
)
def test_tag_report(text, prefilled, report):
    assert tag_report(text, format="boxed", think_prefilled=prefilled) == report


def test_tag_report_of_answer_tags():
    assert tag_report("<think>a</think><answer>7</answer>", format="answer_tag") == (True, True)
    assert tag_report("<think>a</think><answer>7</answer><answer>7</answer>", format="answer_tag") == (
        True,
        False,
    )
    assert tag_report("<think>a</think></answer>7<answer>", format="answer_tag") == (True, False)


@given(PIECES, INNER)
def test_the_last_box_wins(before, inner):
    text = before + "</think>" + before.replace("think>", "") + rf"\boxed{{{inner}}}"
    assert extract_answer(text) == inner


@given(PIECES, PIECES)
def test_nothing_inside_the_thinking_counts(thinking, after):
    after = after.replace("think>", "")
    plain = extract_answer("</think>" + after)
    assert extract_answer(f"<think>{thinking}</think>{after}") == plain


@given(PIECES, st.sampled_from(["boxed", "answer_tag"]), st.booleans())
def test_any_text_gives_a_stripped_answer_or_none(text, format, prefilled):
    answer = extract_answer(text, format=format, think_prefilled=prefilled)
    assert answer is None or answer == answer.strip() != ""
    _, tags = tag_report(text, format=format, think_prefilled=prefilled)
    assert not (tags and answer is None)


@settings(max_examples=20)
@given(st.text(max_size=200))
def test_an_unclosed_think_has_no_answer(text):
    assert extract_answer("<think>" + text.replace("</think>", "") + r"\boxed{7}") is None


@pytest.mark.parametrize(
    "unit",
    [
        r"\boxed{",
        r"\boxed",
        r"\boxed{7}",
        "<think>",
        "</think>",
        "<answer>",
        "{",
        "}",
        "\\",
        r"\boxedx",
        "<answer></answer>",
        " ",
    ],
)
@pytest.mark.parametrize("format", ["boxed", "answer_tag"])
def test_a_megabyte_of_anything_is_quick(unit, format):
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    for probe in (text, text + r"\boxed{7}", r"\boxed{" + text, "</think><answer>" + text):
        extract_answer(probe, format=format)
        tag_report(probe, format=format)
    assert time.process_time() - start < 4.0
