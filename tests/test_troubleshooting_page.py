"""docs/troubleshooting.md quotes messages that the library still gives."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"(?<=[ (])\*([^*|]+)\*", PAGE.split("## It does not start")[1])
VALUE = "\0"  # in place of a value that is put into a message


def texts(tree):
    """The strings of a source as they read once values are put in; of a module without one brace a few."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%[sdg]", VALUE, node.value)


@pytest.fixture(scope="module")
def source():
    """All strings of the library, a line each."""
    files = (ROOT / "lenrl").rglob("*.py")
    return "\n".join(" ".join(text.split()) for f in files for text in texts(ast.parse(f.read_text("utf-8"))))


def test_most_rows_quote_their_message():
    assert len(QUOTED) >= 20


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_is_still_given(message, source):
    parts = [" ".join(part.split()) for part in message.split("...")]
    for sentence in re.split(r"(?<=\.) (?=Did)", "...".join(parts)):  # two functions word them
        words = re.escape(sentence.replace("...", VALUE)).replace(re.escape(VALUE), f"[^\n]*{VALUE}[^\n]*")
        assert re.search(words, source), message
