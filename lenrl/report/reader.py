"""Completions side by side: the same problems as different models answered them."""

from collections.abc import Sequence
from typing import Any

from lenrl.report.entries import Entry

PROBLEMS = 40  # shown; they spread evenly from the largest saving to the largest growth
CHARS = 1_500  # of a completion where twenty models are shown; fewer get more, up to four times as many
VERDICT = {True: "right", False: "wrong", None: "unknown"}


def side_by_side(entries: Sequence[Entry]) -> dict[str, object] | None:
    """Completions for the page's reader; None: no two models have answered the same problems.

    Of each problem the first sample of the first entry's decoding is shown.

    Returns:
        `problems` with prompt, title, difficulty and `answers`; how many are `shared`, their `decoding`; and what the
        reader can be set to: `models`, `verdicts`, `difficulties` as (value, words).
    """
    entries = [entry for entry in entries if entry.columns and entry.decoding == entries[0].decoding]
    tables = [_first_answers(entry) for entry in entries]
    if len(tables) < 2:
        return None
    base, last = tables[0], tables[-1]
    shared = [name for name in base if any(name in table for table in tables[1:])]
    if not shared:
        return None
    growth = {name: last.get(name, base[name])["tokens"] - base[name]["tokens"] for name in shared}
    chars = CHARS * max(1, min(4, 20 // len(entries)))
    problems = [
        {
            "prompt": shortened(base[name].get("rendered") or base[name]["prompt"], chars),
            "title": " ".join(str(base[name]["prompt"]).split())[:80],
            "difficulty": "" if base[name]["difficulty"] is None else str(base[name]["difficulty"]),
            "answers": [
                {
                    "model": number,
                    "name": entry.name,
                    "verdict": VERDICT[table[name]["verdict"]],
                    "tokens": table[name]["tokens"],
                    "cut": bool(table[name].get("truncated")),
                    "text": shortened(table[name]["completion"], chars),
                }
                for number, (entry, table) in enumerate(zip(entries, tables, strict=True))
                if name in table
            ],
        }
        for name in _spread(sorted(shared, key=lambda name: (growth[name], name)))
    ]
    grades = sorted({problem["difficulty"] for problem in problems} - {""}, key=lambda g: (len(g), g))
    verdicts = [f"{one} to {other}" for one in VERDICT.values() for other in VERDICT.values()]
    return {
        "problems": problems,
        "shared": len(shared),
        "decoding": entries[0].decoding,
        "models": [(number, entry.name) for number, entry in enumerate(entries)],
        "verdicts": [("", "any"), *((verdict, verdict) for verdict in verdicts)],
        "difficulties": [("", "any"), *((grade, grade) for grade in grades)],
    }


def shortened(words: str, chars: int) -> str:
    """A text of at most about `chars` characters; the middle is left out, and a note stands there.

    >>> shortened("abcdefgh", 4)
    'ab\\n[... 4 characters left out ...]\\ngh'
    """
    if len(words) <= chars:
        return words
    half = chars // 2
    return f"{words[:half]}\n[... {len(words) - 2 * half} characters left out ...]\n{words[-half:]}"


def _spread(names: Sequence[str]) -> list[str]:
    """At most PROBLEMS of the names, evenly spread, the first and the last among them."""
    count = min(PROBLEMS, len(names))
    return [names[round(i * (len(names) - 1) / max(1, count - 1))] for i in range(count)]


def _first_answers(entry: Entry) -> dict[str, dict[str, Any]]:
    names, columns = list(entry.columns), entry.columns.values()
    answers: dict[str, dict[str, Any]] = {}
    for values in zip(*columns, strict=True):
        row = {"difficulty": None, **dict(zip(names, values, strict=True))}
        answers.setdefault(row["prompt_id"], row)
    return answers
