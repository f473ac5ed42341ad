"""The answer of a completion, found in its text. Pure, linear, no backtracking on hostile text.

The answer is the content of the last box (or the last complete `<answer>` pair) after the last `</think>`.
A last box that is unclosed or empty is no answer; an earlier one never takes its place.
"""

import re
from typing import Literal

Format = Literal["boxed", "answer_tag"]

_OPEN, CLOSE = "<think>", "</think>"
BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_BRACE = re.compile(r"[{}\\]")
_BLANK = re.compile(r"(?:[\s$~]|\\[\s,;:!])+")


def answer_part(text: str, *, think_prefilled: bool = False, read_unfinished: bool = False) -> str | None:
    """The text in which an answer counts: after the last `</think>`; None if the thinking never ended, and that is
    not to be read (`read_unfinished`)."""
    closed = text.rfind(CLOSE)
    part = text if closed < 0 else text[closed + len(CLOSE) :]
    unfinished = _OPEN in part or closed < 0 and think_prefilled
    return None if unfinished and not read_unfinished else part


def thinking_end(text: str, *, think_prefilled: bool = False) -> int | None:
    """The characters of a completion that are thinking: up to its last `</think>`, all where the thinking never ended;
    None: it has no thinking.

    >>> thinking_end("<think>1+1</think>2"), thinking_end("<think>1+"), thinking_end("2")
    (18, 9, None)
    """
    if answer_part(text, think_prefilled=think_prefilled) is None:
        return len(text)
    closed = text.rfind(CLOSE)
    return None if closed < 0 else closed + len(CLOSE)


def extract_answer(
    text: str, *, format: Format = "boxed", think_prefilled: bool = False, read_unfinished: bool = False
) -> str | None:
    r"""The answer of a completion, stripped, or None if it gives none.

    `think_prefilled`: the chat template opened `<think>`, so text without `</think>` is all thinking.
    `\boxed`, `\boxed {..}` and `\fbox{..}` are boxes, nested and escaped braces count; of nested boxes the
    innermost last one is read. In `answer_tag` format a box inside the tags may wrap the value. `read_unfinished`:
    an answer inside thinking that never ended counts.

    >>> extract_answer(r"<think>\boxed{1}</think> so \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    >>> extract_answer(r"\boxed{1} no, \boxed{2") is None
    True
    >>> text = r"<think>\boxed{1}, wait"
    >>> extract_answer(text), extract_answer(text, read_unfinished=True)
    (None, '1')
    """
    part = answer_part(text, think_prefilled=think_prefilled, read_unfinished=read_unfinished)
    if part is None:
        return None
    if format == "boxed":
        return _filled(_last_box(part))
    inner = _last_pair(part)
    if inner is None:
        return None
    return _filled(_last_box(inner) if BOX.search(inner) else inner)


def tag_report(
    text: str, *, format: Format = "boxed", think_prefilled: bool = False, read_unfinished: bool = False
) -> tuple[bool, bool]:
    """(think tags well formed, answer tags well formed).

    Think tags: exactly one block that starts the text, its opening tag given by the template if prefilled.
    Answer tags: exactly one box (or one pair) after the thinking, complete and not empty.
    """
    opened, closed = text.count(_OPEN), text.count(CLOSE)
    if think_prefilled:
        think = opened == 0 and closed == 1
    else:
        think = opened == closed == 1 and text.lstrip().startswith(_OPEN)
    part = answer_part(text, think_prefilled=think_prefilled, read_unfinished=read_unfinished)
    if part is None:
        return think, False
    if format == "boxed":
        once = sum(1 for _ in BOX.finditer(part)) == 1
    else:
        once = part.count("<answer>") == part.count("</answer>") == 1
    answer = extract_answer(
        text, format=format, think_prefilled=think_prefilled, read_unfinished=read_unfinished
    )
    return think, once and answer is not None


def _last_box(text: str) -> str | None:
    """Content of the last box, None if there is none or it is not complete."""
    last = None
    for match in BOX.finditer(text):
        last = match
    if last is None:
        return None
    start = last.end()
    while start < len(text) and text[start].isspace():
        start += 1
    if start == len(text) or text[start] != "{":
        return None
    end = closing_brace(text, start)
    return None if end is None else text[start + 1 : end]


def closing_brace(text: str, start: int) -> int | None:
    """Index of the brace that closes the one at `start`; escaped braces do not count."""
    depth, skip = 0, -1
    for match in _BRACE.finditer(text, start):
        at = match.start()
        if at == skip:
            continue
        char = match.group()
        if char == "\\":
            skip = at + 1
        elif char == "{":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return at
    return None


def _last_pair(text: str) -> str | None:
    """Content of the last complete `<answer>` pair."""
    end = text.rfind("</answer>")
    if end < 0:
        return None
    start = text.rfind("<answer>", 0, end)
    if start < 0:
        return None
    start += len("<answer>")
    return text[start : text.find("</answer>", start)]


def _filled(content: str | None) -> str | None:
    """Stripped content, None if nothing is visible in it."""
    if content is None or not _BLANK.sub("", content[:10_000]) and len(content) <= 10_000:
        return None
    return content.strip() or None
