"""Gold answers as data sets write them, and the part of them that the verifier gets."""

import json
import re
from typing import Any, Literal

from lenrl.verify.extract import closing_brace

Form = Literal["plain", "boxed", "hashes", "list"]

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")


def gold(value: Any, form: Form = "plain") -> str | None:
    r"""The gold answer in a column's value; None: there is none.

    `plain`: the value itself, numbers written out, anything nested as JSON. `boxed`: what the last box of a
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
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if form == "boxed":
        return _boxed(text)
    if form == "hashes":
        _, mark, answer = text.rpartition("####")
        return answer.strip() or None if mark else None
    return text


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
