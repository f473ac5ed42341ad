"""Gold answers as data sets write them, and the part of them that the verifier gets."""

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

from lenrl.errors import shown
from lenrl.verify.extract import closing_brace

Form = Literal["plain", "boxed", "hashes", "list"]

MOSTLY = 0.5  # of the answers; so many in another form are that form

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")


def gold(value: Any, form: Form = "plain") -> str | None:
    r"""The gold answer in a column's value; None: there is none.

    `plain`: the value itself, numbers written out (7.0, as pandas makes of a 7 in a column with gaps, is 7), anything
    nested as JSON; NaN is no answer. `boxed`: what the last box of a
    worked solution holds (MATH). `hashes`: what follows its last `####` (GSM8K). `list`: the elements of a list,
    without the dollars around them, separated by commas (OlympiadBench).

    >>> gold(r"so $x=\boxed{\frac{1}{2}}$.", "boxed"), gold("2+2=4\n#### 4", "hashes"), gold(["$1$", "$-2$"], "list")
    ('\\frac{1}{2}', '4', '1, -2')
    """
    if value is None:
        return None
    if form == "list":
        elements = value if isinstance(value, list | tuple) else [value]
        return ", ".join(_bare(str(element)) for element in elements) or None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = int(value) if value.is_integer() else value
    written = isinstance(value, bool | int | float | list | tuple | dict)
    text = json.dumps(value, default=str) if written else str(value)
    if form == "boxed":
        return _boxed(text)
    if form == "hashes":
        _, mark, answer = text.rpartition("####")
        return answer.strip() or None if mark else None
    return text


def other_form(values: Sequence[Any], form: Form) -> str | None:
    """Words for gold answers that mostly stand in another form than `form`, with the option that reads them.

    >>> other_form(["2+2=4\\n#### 4"], "plain")
    "holds worked solutions such as '2+2=4\\\\n#### 4': task.answer_form=hashes takes what follows the last ####"
    """
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    if form in ("hashes", "boxed"):
        if texts and not any(gold(text, form) for text in texts):
            mark = "####" if form == "hashes" else r"\boxed{}"
            return f"holds no {mark} anywhere, e.g. {shown(texts[0], 60)}: task.answer_form=plain takes the text itself"
        return None
    worked = {
        "hashes": ("takes what follows the last ####", [text for text in texts if gold(text, "hashes")]),
        "boxed": (r"takes what the last \boxed{} holds", [text for text in texts if _around_box(text)]),
    }
    for other, (does, found) in worked.items():
        if form == "plain" and len(found) > MOSTLY * len(values):
            return f"holds worked solutions such as {shown(found[0], 60)}: task.answer_form={other} {does}"
    return None


def _around_box(text: str) -> bool:
    """Words stand beside the box: a worked solution, not a boxed answer."""
    answer = _boxed(text)
    return answer is not None and len(_BOX.sub("", text)) > 2 * len(answer) + 20


def _bare(text: str) -> str:
    """Without the one pair of dollars around it: `$1$, $-2$` is no formula."""
    text = text.strip()
    return text[1:-1] if text.count("$") == 2 and text[0] == text[-1] == "$" else text


def _boxed(text: str) -> str | None:
    """Content of the last box; MATH also writes `\\boxed 3$`, without braces. None: no box, or an open one."""
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    start = boxes[-1].end()
    if not text.startswith("{", start):
        return re.split(r"[$\s]", text[start:], maxsplit=1)[0] or None
    end = closing_brace(text, start)
    return None if end is None else text[start + 1 : end].strip() or None
